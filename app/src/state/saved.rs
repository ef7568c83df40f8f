//! What the window remembers from one start to the next.
//!
//! A small JSON file in the state folder. Losing it costs nothing but a preference, so a damaged one is
//! replaced without a word. Start at [`AppState::load`].

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Light, dark, or as the desktop has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    /// As the desktop has it; light where it does not say.
    #[default]
    System,
    /// Dark text on light paper.
    Light,
    /// Light text on dark ground.
    Dark,
}

/// What the window remembers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppState {
    /// Colours.
    pub theme: Theme,
    /// Size of everything; 1.0 is the desktop's own.
    pub zoom: f32,
}

impl Default for AppState {
    fn default() -> Self {
        Self {
            theme: Theme::System,
            zoom: 1.0,
        }
    }
}

/// Least and largest [`AppState::zoom`]: below nothing can be read, above nothing fits.
pub const ZOOM: std::ops::RangeInclusive<f32> = 0.7..=2.0;

impl AppState {
    /// The file below the state folder.
    #[must_use]
    pub fn file(state: &Path) -> PathBuf {
        state.join("window.json")
    }

    /// Reads the file; a missing or damaged one gives the defaults.
    #[must_use]
    pub fn load(file: &Path) -> Self {
        let mut state: Self = std::fs::read(file)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        if !ZOOM.contains(&state.zoom) {
            state.zoom = 1.0;
        }
        state
    }

    /// Writes the file. Blocking.
    ///
    /// # Errors
    /// When the folder cannot be made or written to.
    pub fn save(&self, file: &Path) -> std::io::Result<()> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        satchel_sync::durable::write(file, &serde_json::to_vec(self)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = AppState::file(&folder.path().join("new"));
        assert_eq!(AppState::load(&file), AppState::default());
        let state = AppState {
            theme: Theme::Dark,
            zoom: 1.2,
        };
        state.save(&file).unwrap();
        assert_eq!(AppState::load(&file), state);
        satchel_sync::durable::write(&file, b"{\"zoom\":1e9,\"theme\":\"dark\"}").unwrap();
        assert_eq!(AppState::load(&file).zoom, 1.0);
        satchel_sync::durable::write(&file, b"not json").unwrap();
        assert_eq!(AppState::load(&file), AppState::default());
    }
}
