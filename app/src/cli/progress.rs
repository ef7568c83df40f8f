//! One progress line on stderr, on a terminal only.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::message::{Progress, Stage};

/// The line; empty where progress is not shown.
pub(crate) struct ProgressLine {
    bar: Option<ProgressBar>,
    stage: Option<Stage>,
    shown: bool,
}

impl ProgressLine {
    /// A line that shows itself with its first step.
    #[must_use]
    pub(crate) fn new(shown: bool) -> Self {
        Self {
            bar: None,
            stage: None,
            shown,
        }
    }

    /// Shows a step.
    pub(crate) fn show(&mut self, step: &Progress) {
        if !self.shown {
            return;
        }
        if self.stage != Some(step.stage) {
            self.clear();
            self.stage = Some(step.stage);
        }
        let bar = self.bar.get_or_insert_with(|| new_bar(step.stage));
        bar.set_length(step.total.max(1));
        bar.set_position(step.done);
        bar.set_message(step.eta_ms.map_or_else(String::new, |ms| {
            format!("{} left", words(Duration::from_millis(ms)))
        }));
    }

    /// Takes the line away, so that something else can be printed.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.stage = None;
    }
}

fn new_bar(stage: Stage) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
    let template = match stage {
        Stage::Model | Stage::Download => "{prefix} [{bar:30}] {bytes}/{total_bytes} {msg}",
        Stage::Scanning => "{prefix} {pos} files",
        _ => "{prefix} [{bar:30}] {pos}/{len} {msg}",
    };
    // The templates are constants; a wrong one would fail in every test that shows progress.
    bar.set_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.set_prefix(stage.label());
    bar
}

fn words(left: Duration) -> String {
    let seconds = left.as_secs();
    match seconds {
        0..=1 => "1 s".to_owned(),
        2..=90 => format!("{seconds} s"),
        91..=5400 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{:.1} h", seconds as f64 / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_reads_well() {
        assert_eq!(words(Duration::from_secs(0)), "1 s");
        assert_eq!(words(Duration::from_secs(59)), "59 s");
        assert_eq!(words(Duration::from_secs(125)), "3 min");
        assert_eq!(words(Duration::from_secs(9000)), "2.5 h");
    }

    #[test]
    fn every_stage_has_a_valid_template() {
        for stage in [
            Stage::Model,
            Stage::Download,
            Stage::Scanning,
            Stage::Reading,
        ] {
            let mut line = ProgressLine::new(true);
            line.show(&Progress {
                stage,
                done: 1,
                total: 2,
                eta_ms: Some(5),
            });
            line.clear();
        }
    }
}
