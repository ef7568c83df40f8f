//! A small generator whose whole state is its seed, so that a run can be repeated.

use satchel_sync::member::DeviceKeys;

/// SplitMix64 (Steele, Lea and Flood 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn number(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A place in something of so many parts.
    pub fn below(&mut self, end: usize) -> usize {
        self.number(end as u64) as usize
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next() as u8)
    }

    pub fn device_keys(&mut self) -> DeviceKeys {
        let bytes = [&[1][..], &self.bytes::<64>()].concat();
        DeviceKeys::from_secret_bytes(&bytes).unwrap()
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.number(100) < percent
    }
}
