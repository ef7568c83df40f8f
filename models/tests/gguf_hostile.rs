//! Hundreds of damaged GGUF files: each is refused or read, without a panic and within a small memory limit.
//!
//! Alone in its file, because it limits the memory of its whole process: a reader that believed a lying length
//! and allocated for it would end this test.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use common::{Random, Toy};
use rustix::process::{Resource, Rlimit, setrlimit};
use satchel_models::gguf::check_reader;

/// Memory that the process may have while reading the mutants; a file of 40 KiB never needs a part of it, the
/// rest is what the test program itself maps.
const MEMORY_LIMIT_BYTES: u64 = 512 << 20;
/// Values at which length and count arithmetic breaks.
const EXTREMES: &[u64] = &[
    0,
    1,
    2,
    3,
    5,
    9,
    13,
    32,
    255,
    4096,
    65_536,
    1 << 20,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    1 << 40,
    1 << 62,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 31,
    u64::MAX - 1,
    u64::MAX,
];

#[test]
fn mutants_neither_panic_nor_take_memory() {
    setrlimit(
        Resource::As,
        Rlimit {
            current: Some(MEMORY_LIMIT_BYTES),
            maximum: None,
        },
    )
    .unwrap();
    let mut random = Random::from_environment();
    let seed = random.0;
    let original = Toy::chat().bytes();
    let fields = number_fields(&original);
    assert!(is_accepted(&original), "the original must be good");
    assert!(
        fields.len() > 300,
        "the walk over the header found {} numbers only",
        fields.len()
    );

    // Every number of the header at every extreme.
    let (mut lies, mut accepted_lies) = (0, Vec::new());
    for field in &fields {
        for extreme in EXTREMES {
            let mut mutant = original.clone();
            let value = extreme.to_le_bytes();
            mutant[field.at..field.at + field.len].copy_from_slice(&value[..field.len]);
            if mutant == original {
                continue;
            }
            lies += 1;
            if is_accepted(&mutant) {
                accepted_lies.push((field.what.clone(), *extreme));
            }
        }
    }
    let share = accepted_lies.len() as f64 / f64::from(lies);
    eprintln!(
        "{lies} lying numbers, {} accepted ({:.2} %)",
        accepted_lies.len(),
        share * 100.0
    );
    assert!(share < 0.05, "too many lies accepted: {accepted_lies:?}");

    // Random damage: flipped bytes, cut and doubled pieces, several at once.
    let mut refused = 0;
    const RANDOM_MUTANTS: usize = 600;
    for number in 0..RANDOM_MUTANTS {
        let mut mutant = original.clone();
        for _ in 0..=random.below(3) {
            damage(&mut mutant, &mut random);
        }
        let accepted = std::panic::catch_unwind(|| is_accepted(&mutant)).unwrap_or_else(|_| {
            panic!("mutant {number} of SATCHEL_TEST_SEED={seed} made the check panic")
        });
        refused += usize::from(!accepted);
    }
    eprintln!("{RANDOM_MUTANTS} random mutants, {refused} refused");
    assert!(
        refused > RANDOM_MUTANTS / 2,
        "only {refused} of {RANDOM_MUTANTS} refused (SATCHEL_TEST_SEED={seed})"
    );
}

fn is_accepted(bytes: &[u8]) -> bool {
    match check_reader(bytes, bytes.len() as u64) {
        Ok(summary) => {
            assert_eq!(summary.file_bytes, bytes.len() as u64);
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    // Mostly in the header, where it counts.
    let end = if random.below(4) == 0 {
        bytes.len()
    } else {
        bytes.len().min(8192)
    };
    let at = random.below(end.max(1)).min(bytes.len().saturating_sub(1));
    match random.below(5) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next() as u8,
        2 => {
            let value = EXTREMES[random.below(EXTREMES.len())].to_le_bytes();
            let len = (bytes.len() - at).min(8);
            bytes[at..at + len].copy_from_slice(&value[..len]);
        }
        3 => drop(bytes.drain(at..(at + 1 + random.below(64)).min(bytes.len()))),
        _ => {
            let piece = bytes[at..(at + 1 + random.below(64)).min(bytes.len())].to_vec();
            bytes.splice(at..at, piece);
        }
    }
    if bytes.is_empty() {
        bytes.push(0);
    }
}

/// A number in the header.
struct Field {
    what: String,
    at: usize,
    len: usize,
}

/// Walks over a good file, independently of the reader under test, and finds the numbers that describe it.
fn number_fields(bytes: &[u8]) -> Vec<Field> {
    let mut walk = Walk {
        bytes,
        at: 4,
        fields: Vec::new(),
    };
    walk.number("version", 4);
    let tensors = walk.number("tensor count", 8);
    let entries = walk.number("metadata count", 8);
    for _ in 0..entries {
        let key = walk.text("key length");
        let kind = walk.number(&format!("type of {key}"), 4);
        walk.value(&key, kind);
    }
    for _ in 0..tensors {
        let name = walk.text("tensor name length");
        let dimensions = walk.number(&format!("dimension count of {name}"), 4);
        for _ in 0..dimensions {
            walk.number(&format!("dimension of {name}"), 8);
        }
        walk.number(&format!("format of {name}"), 4);
        walk.number(&format!("offset of {name}"), 8);
    }
    walk.fields
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    fields: Vec<Field>,
}

impl Walk<'_> {
    fn number(&mut self, what: &str, len: usize) -> u64 {
        self.fields.push(Field {
            what: what.to_owned(),
            at: self.at,
            len,
        });
        self.peek(len)
    }

    fn peek(&mut self, len: usize) -> u64 {
        let mut value = [0; 8];
        value[..len].copy_from_slice(&self.bytes[self.at..self.at + len]);
        self.at += len;
        u64::from_le_bytes(value)
    }

    fn text(&mut self, what: &str) -> String {
        let len = self.number(what, 8) as usize;
        self.at += len;
        String::from_utf8(self.bytes[self.at - len..self.at].to_vec()).unwrap()
    }

    fn value(&mut self, key: &str, kind: u64) {
        match kind {
            7 => self.at += 1,
            4..=6 => {
                self.peek(4);
            }
            8 => {
                self.text(&format!("length of {key}"));
            }
            9 => {
                let element = self.number(&format!("element type of {key}"), 4);
                let len = self.number(&format!("list length of {key}"), 8);
                for _ in 0..len {
                    self.value(key, element);
                }
            }
            other => panic!("the toy has no values of type {other}"),
        }
    }
}
