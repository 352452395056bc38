//! The corpus of a fuzz target (`fuzz/corpus/<target>`), run through it again, with a number of
//! mutations that is the same each time.

use std::path::{Path, PathBuf};

/// Mutations of all files of a corpus together.
const MUTATIONS: u64 = 2_000;
/// Larger than what any target needs; no mutation grows beyond it.
const MAX_BYTES: usize = 1 << 16;

/// Runs every file of the corpus and mutations of them. A panic of the target fails the test, which
/// then names the file and the mutation.
///
/// # Panics
/// Like the target, or without a corpus.
pub fn replay(target: &str, run: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder's entry").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    let corpus: Vec<Vec<u8>> = paths
        .iter()
        .map(|path| std::fs::read(path).unwrap_or_else(|error| panic!("{path:?}: {error}")))
        .collect();
    for (path, data) in paths.iter().zip(&corpus) {
        named(path, None, || run(data));
    }
    for seed in 0..MUTATIONS {
        let mut random = Random(seed);
        let at = random.below(corpus.len());
        let mut data = corpus[at].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut data, &corpus, &mut random);
        }
        data.truncate(MAX_BYTES);
        named(&paths[at], Some((seed, &data)), || run(&data));
    }
}

fn named(path: &Path, mutation: Option<(u64, &[u8])>, run: impl FnOnce()) {
    struct Name<'a>(&'a Path, Option<(u64, &'a [u8])>);
    impl Drop for Name<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("with {}", self.0.display());
                if let Some((seed, data)) = self.1 {
                    eprintln!("mutation {seed}: {data:02x?}");
                }
            }
        }
    }
    let _name = Name(path, mutation);
    run();
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `end`; 0 for 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Numbers at which lengths and counts go wrong.
const EDGES: [i64; 10] = [
    0,
    -1,
    1,
    0x7f,
    0x80,
    i16::MAX as i64,
    i32::MAX as i64,
    i32::MIN as i64,
    i64::MAX,
    i64::MIN,
];

fn mutate(data: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(data.len());
    let span = at..(at + 1 + random.below(16)).min(data.len()).max(at);
    match random.below(7) {
        0 if !data.is_empty() => data[at] ^= 1 << random.below(8),
        1 if !data.is_empty() => data[at] = random.next() as u8,
        2 => {
            let edge = EDGES[random.below(EDGES.len())].to_be_bytes();
            let width = [1, 2, 4, 8][random.below(4)];
            for (place, byte) in data[at..].iter_mut().zip(&edge[8 - width..]) {
                *place = *byte;
            }
        }
        3 => drop(data.drain(span)),
        4 => {
            let copy = data[span].to_vec();
            data.splice(at..at, copy);
        }
        5 => {
            let byte = random.next() as u8;
            data.insert(at, byte);
        }
        _ => {
            let other = &corpus[random.below(corpus.len())];
            data.truncate(at);
            data.extend_from_slice(&other[random.below(other.len())..]);
        }
    }
}
