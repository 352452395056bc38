//! The server's side, which tests and fuzz targets play.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{GS2_HEADER, Hash};

/// What a broker keeps of a user: not the password.
pub(crate) struct Server {
    hash: Hash,
    salt: Vec<u8>,
    iterations: u32,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl Server {
    pub(crate) fn new(hash: Hash, password: &str, salt: &[u8], iterations: u32) -> Self {
        let salted = hash.salted(password.as_bytes(), salt, iterations);
        Self {
            hash,
            salt: salt.to_vec(),
            iterations,
            stored_key: hash.digest(&hash.hmac(&salted, b"Client Key")),
            server_key: hash.hmac(&salted, b"Server Key"),
        }
    }

    /// The server's first message.
    pub(crate) fn challenge(&self, client_first: &str) -> String {
        let nonce = client_first.split(",r=").nth(1).expect("a nonce");
        format!(
            "r={nonce}server,s={},i={}",
            BASE64.encode(&self.salt),
            self.iterations
        )
    }

    /// The server's final message if the client's proof is right.
    pub(crate) fn check(
        &self,
        client_first: &str,
        challenge: &str,
        client_final: &str,
    ) -> Option<String> {
        let (without_proof, proof) = client_final.split_once(",p=").expect("a proof");
        let bare = client_first.strip_prefix(GS2_HEADER).expect("its header");
        let auth_message = format!("{bare},{challenge},{without_proof}");
        let signature = self.hash.hmac(&self.stored_key, auth_message.as_bytes());
        let mut key = BASE64.decode(proof).expect("a proof in Base64");
        key.iter_mut()
            .zip(signature)
            .for_each(|(byte, mask)| *byte ^= mask);
        (self.hash.digest(&key) == self.stored_key).then(|| {
            let signature = self.hash.hmac(&self.server_key, auth_message.as_bytes());
            format!("v={}", BASE64.encode(signature))
        })
    }
}
