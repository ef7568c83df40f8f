//! Four small pictures that two people compare, so that nobody sits between their laptops.
//!
//! Never a secret: seeing them helps nobody. Start at [`Emoji`].

/// A picture that is easy to tell from the other 63, and its name for reading aloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Emoji {
    /// One character.
    pub symbol: &'static str,
    /// What to call it, in plain English.
    pub name: &'static str,
}

/// Takes one picture from each two bytes: evenly, because 64 divides 65,536.
pub(super) fn pictures(bytes: [u8; 8]) -> [Emoji; 4] {
    std::array::from_fn(|i| {
        let number = u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]);
        TABLE[usize::from(number) % TABLE.len()]
    })
}

const fn emoji(symbol: &'static str, name: &'static str) -> Emoji {
    Emoji { symbol, name }
}

/// Do not change or reorder: two versions of Satchel would show different pictures for the same pair.
///
/// Each is one character of Unicode 6 without a selector, so that every font with emoji has it.
#[rustfmt::skip] // a table
const TABLE: [Emoji; 64] = [
    emoji("🐶", "dog"),        emoji("🐱", "cat"),         emoji("🐴", "horse"),      emoji("🐷", "pig"),
    emoji("🐘", "elephant"),   emoji("🐰", "rabbit"),      emoji("🐼", "panda"),      emoji("🐔", "chicken"),
    emoji("🐧", "penguin"),    emoji("🐢", "turtle"),      emoji("🐟", "fish"),       emoji("🐙", "octopus"),
    emoji("🐳", "whale"),      emoji("🐌", "snail"),       emoji("🐝", "bee"),        emoji("🐸", "frog"),
    emoji("🐍", "snake"),      emoji("🐫", "camel"),       emoji("🌻", "sunflower"),  emoji("🌳", "tree"),
    emoji("🌵", "cactus"),     emoji("🍄", "mushroom"),    emoji("🍎", "apple"),      emoji("🍌", "banana"),
    emoji("🍓", "strawberry"), emoji("🍇", "grapes"),      emoji("🌽", "corn"),       emoji("🍕", "pizza"),
    emoji("🎂", "cake"),       emoji("🍦", "ice cream"),   emoji("🌍", "globe"),      emoji("🌙", "moon"),
    emoji("⭐", "star"),       emoji("🔥", "fire"),        emoji("🌈", "rainbow"),    emoji("☔", "umbrella"),
    emoji("⛄", "snowman"),    emoji("👓", "glasses"),     emoji("🎩", "hat"),        emoji("👑", "crown"),
    emoji("👟", "shoe"),       emoji("🔑", "key"),         emoji("🔨", "hammer"),     emoji("📖", "book"),
    emoji("⏰", "clock"),      emoji("🎁", "gift"),        emoji("💡", "light bulb"), emoji("🔒", "padlock"),
    emoji("🔔", "bell"),       emoji("🎸", "guitar"),      emoji("🎺", "trumpet"),    emoji("⚽", "football"),
    emoji("🏆", "trophy"),     emoji("🚀", "rocket"),      emoji("🚂", "train"),      emoji("🚲", "bicycle"),
    emoji("🚗", "car"),        emoji("⚓", "anchor"),      emoji("⛵", "sailing boat"), emoji("🏠", "house"),
    emoji("⛺", "tent"),       emoji("👻", "ghost"),       emoji("📷", "camera"),     emoji("🎈", "balloon"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_pictures_share_a_symbol_or_a_name() {
        let symbols: BTreeSet<_> = TABLE.iter().map(|emoji| emoji.symbol).collect();
        let names: BTreeSet<_> = TABLE.iter().map(|emoji| emoji.name).collect();
        assert_eq!((symbols.len(), names.len()), (64, 64));
        assert!(TABLE.iter().all(|emoji| emoji.symbol.chars().count() == 1));
        assert!(TABLE.iter().all(|emoji| emoji.name.is_ascii()));
    }

    /// Laptops with different versions compare these. If this test fails, they no longer can.
    #[test]
    fn the_table_is_frozen() {
        let mut hash = blake3::Hasher::new();
        for emoji in TABLE {
            hash.update(emoji.symbol.as_bytes());
        }
        expect!["3681faa621fe5f265894e6c00a51fc938b9cfa2d08ca8b46b80964f89d33f219"]
            .assert_eq(&hash.finalize().to_hex());
    }

    #[test]
    fn each_two_bytes_choose_one_picture() {
        let names = pictures([0, 0, 1, 0, 63, 0, 64, 1]).map(|emoji| emoji.name);
        assert_eq!(names, ["dog", "cat", "balloon", "dog"]);
    }
}
