//! The cryptography under TLS.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

use crate::error::ConfigError;

/// Graviola where it serves this processor: it needs no C compiler. With the feature `ring` ring
/// stands in for it everywhere else.
pub(super) fn provider() -> Result<Arc<CryptoProvider>, ConfigError> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if graviola::util::is_cpu_supported() {
        return Ok(Arc::new(rustls_graviola::default_provider()));
    }
    fallback()
}

#[cfg(feature = "ring")]
fn fallback() -> Result<Arc<CryptoProvider>, ConfigError> {
    Ok(Arc::new(rustls::crypto::ring::default_provider()))
}

#[cfg(not(feature = "ring"))]
fn fallback() -> Result<Arc<CryptoProvider>, ConfigError> {
    Err(ConfigError::new(
        "tls",
        "is not to be had on this processor in this build (it takes an x86-64 with AES, AVX2 and ADX, \
         or an AArch64 with AES and SHA2); build with `--features kafka/ring` and a C compiler",
    ))
}
