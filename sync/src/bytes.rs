//! Writes and reads fixed big-endian layouts.
//!
//! Pure. The reader never panics and never reserves memory for a length that it only read: what is too long or
//! too short is an error. Every layout has one encoding. Start at [`Writer`] and [`Reader`].

/// Appends fields to a layout.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Reserved at once, so that growing leaves no copy of a secret behind.
    pub(crate) fn with_capacity(capacity_bytes: usize) -> Self {
        Self(Vec::with_capacity(capacity_bytes))
    }

    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.array(&value.to_be_bytes())
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.array(&value.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.array(&value.to_be_bytes())
    }

    pub(crate) fn i64(&mut self, value: i64) -> &mut Self {
        self.array(&value.to_be_bytes())
    }

    /// Bytes without a length: the reader knows how many there are.
    pub(crate) fn array(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A length in two bytes, then so many bytes.
    ///
    /// # Panics
    /// When there are more than 65,535, which every caller rules out first.
    pub(crate) fn bytes16(&mut self, bytes: &[u8]) -> &mut Self {
        self.u16(u16::try_from(bytes.len()).expect("the caller has checked the length"))
            .array(bytes)
    }

    /// A length in four bytes, then so many bytes.
    ///
    /// # Panics
    /// When there are more than 2³² − 1, which every caller rules out first.
    pub(crate) fn bytes32(&mut self, bytes: &[u8]) -> &mut Self {
        self.u32(u32::try_from(bytes.len()).expect("the caller has checked the length"))
            .array(bytes)
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

/// Bytes that are not laid out as they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// They end inside a field.
    TooShort,
    /// Something follows the last field.
    TooLong,
    /// A length or a count is above its limit.
    OverLimit,
    /// A field holds what it never may.
    Value,
}

/// Takes fields from a layout.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A byte that is 0 or 1.
    pub(crate) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Value),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(Malformed::TooShort)?;
        self.rest = rest;
        Ok(*array)
    }

    pub(crate) fn slice(&mut self, len_bytes: usize) -> Result<&'a [u8], Malformed> {
        let (slice, rest) = self
            .rest
            .split_at_checked(len_bytes)
            .ok_or(Malformed::TooShort)?;
        self.rest = rest;
        Ok(slice)
    }

    /// A length in two bytes, at most `max_bytes`, then so many bytes.
    pub(crate) fn bytes16(&mut self, max_bytes: usize) -> Result<&'a [u8], Malformed> {
        let len_bytes = self.count16(max_bytes)?;
        self.slice(len_bytes)
    }

    /// A length in four bytes, at most `max_bytes`, then so many bytes.
    pub(crate) fn bytes32(&mut self, max_bytes: usize) -> Result<&'a [u8], Malformed> {
        let len_bytes = usize::try_from(self.u32()?).map_err(|_| Malformed::OverLimit)?;
        if len_bytes > max_bytes {
            return Err(Malformed::OverLimit);
        }
        self.slice(len_bytes)
    }

    /// A number in two bytes, at most `max`.
    pub(crate) fn count16(&mut self, max: usize) -> Result<usize, Malformed> {
        let count = usize::from(self.u16()?);
        if count > max {
            return Err(Malformed::OverLimit);
        }
        Ok(count)
    }

    /// As many items as the two bytes before them say, at most `max`.
    ///
    /// Memory grows with the items that are really there.
    pub(crate) fn list16<T, E: From<Malformed>>(
        &mut self,
        max: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, E>,
    ) -> Result<Vec<T>, E> {
        let count = self.count16(max)?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Everything that was not taken yet.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Ends the reading: nothing may follow.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed::TooLong)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_read_back_in_order_and_nothing_may_follow() {
        let mut writer = Writer::new();
        writer.u8(1).u16(2).u32(3).u64(4).i64(-5).array(&[6; 3]);
        writer.bytes16(b"seven").bytes32(b"eight");
        let bytes = writer.into_vec();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(2));
        assert_eq!(reader.u32(), Ok(3));
        assert_eq!(reader.u64(), Ok(4));
        assert_eq!(reader.i64(), Ok(-5));
        assert_eq!(reader.array(), Ok([6; 3]));
        assert_eq!(reader.bytes16(5), Ok(&b"seven"[..]));
        assert_eq!(Reader::new(&bytes).end(), Err(Malformed::TooLong));
        assert_eq!(reader.bytes32(5), Ok(&b"eight"[..]));
        assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn lengths_are_checked_before_anything_is_taken() {
        assert_eq!(
            Reader::new(&[0xff; 4]).bytes32(10),
            Err(Malformed::OverLimit)
        );
        assert_eq!(
            Reader::new(&[0, 4, 1]).bytes16(10),
            Err(Malformed::TooShort)
        );
        assert_eq!(
            Reader::new(&[0, 4, 1]).bytes16(3),
            Err(Malformed::OverLimit)
        );
        assert_eq!(Reader::new(&[2]).flag(), Err(Malformed::Value));
        assert_eq!(Reader::new(&[]).u64(), Err(Malformed::TooShort));
    }
}
