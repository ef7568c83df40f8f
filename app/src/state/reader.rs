//! The open document: its text, and its earlier versions while they are shown.
//!
//! Pure: no drawing, no work. Start at [`Reader`].

use super::{JobId, Purpose, SessionState, Wish};
use crate::message::{
    Command, DifferenceReport, DocumentText, Failure, FailureKind, HistoryCommand, HistoryReport,
};

/// Versions listed beside an open document.
const VERSIONS_SHOWN: usize = 100;

/// The open document.
#[derive(Debug, Default)]
pub struct Reader {
    /// Its text, once read.
    pub document: Option<DocumentText>,
    /// Why it cannot be shown.
    pub failure: Option<Failure>,
    /// Grows with each place opened, so that the view scrolls once for each.
    pub visit: u64,
    /// The text that was shown before another one arrived, until the view has taken that in.
    pub before: Option<String>,
    /// Its earlier versions, while they are shown.
    pub past: Option<Past>,
    running: Option<JobId>,
}

/// Earlier versions of the open document.
#[derive(Debug, Default)]
pub struct Past {
    /// The newest ones, once known.
    pub report: Option<HistoryReport>,
    /// Lasting name of the version that is looked at.
    pub chosen: Option<String>,
    /// How it differs from the present text, once known.
    pub difference: Option<DifferenceReport>,
    /// Why they cannot be shown.
    pub failure: Option<Failure>,
}

impl Reader {
    /// Whether what was opened last has come.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.running.is_none()
    }

    fn id(&self) -> Option<String> {
        let document = self.document.as_ref()?;
        Some(document.document.id.clone())
    }
}

impl SessionState {
    /// Opens a document at a place.
    pub fn read(&mut self, reference: &str) -> (JobId, Command) {
        let job = self.begin(Purpose::Read, "Opening the document");
        self.visits += 1;
        let visit = self.visits;
        let reader = self.reader.get_or_insert_default();
        reader.visit = visit;
        reader.running = Some(job);
        let reference = reference.to_owned();
        (job, Command::Read { reference })
    }

    /// Shows the versions of the open document, or hides them.
    pub fn toggle_past(&mut self) -> Vec<Wish> {
        let Some(reader) = &mut self.reader else {
            return Vec::new();
        };
        if reader.past.take().is_some() {
            return Vec::new();
        }
        reader.past = Some(Past::default());
        self.list_versions().into_iter().collect()
    }

    /// Looks at a version.
    pub fn choose_version(&mut self, version: &str) -> Vec<Wish> {
        let past = self.reader.as_mut().and_then(|reader| reader.past.as_mut());
        if let Some(past) = past {
            past.chosen = Some(version.to_owned());
            past.difference = None;
            past.failure = None;
        }
        self.compare().into_iter().collect()
    }

    /// Makes a version of a document its present text.
    #[must_use]
    pub fn restoring(document: &str, version: &str) -> Wish {
        Wish {
            purpose: Purpose::Restore,
            command: Command::History(HistoryCommand::Restore {
                document: document.to_owned(),
                version: version.to_owned(),
            }),
        }
    }

    /// Something about documents has changed: the open one is read again, its versions as well.
    pub(super) fn reread(&self) -> Vec<Wish> {
        let document = self.reader.as_ref().and_then(Reader::id);
        let reread = document.map(|reference| Wish {
            purpose: Purpose::Reread,
            command: Command::Read { reference },
        });
        reread.into_iter().chain(self.list_versions()).collect()
    }

    fn list_versions(&self) -> Option<Wish> {
        let reader = self.reader.as_ref()?;
        reader.past.as_ref()?;
        let command = HistoryCommand::Versions {
            document: reader.id()?,
            limit: VERSIONS_SHOWN,
        };
        Some(Wish {
            purpose: Purpose::Past,
            command: Command::History(command),
        })
    }

    fn compare(&self) -> Option<Wish> {
        let reader = self.reader.as_ref()?;
        let command = HistoryCommand::Difference {
            document: reader.id()?,
            from: reader.past.as_ref()?.chosen.clone(),
            to: None,
        };
        Some(Wish {
            purpose: Purpose::Past,
            command: Command::History(command),
        })
    }

    pub(super) fn opened_document(
        &mut self,
        id: JobId,
        purpose: Purpose,
        document: DocumentText,
    ) -> Vec<Wish> {
        let Some(reader) = &mut self.reader else {
            return Vec::new();
        };
        if purpose == Purpose::Reread {
            reader.take_in(document);
        } else if reader.running == Some(id) {
            reader.running = None;
            reader.failure = None;
            reader.before = None;
            let is_another = reader.id().as_ref() != Some(&document.document.id);
            reader.document = Some(document);
            // Versions that were asked for before the document had come are listed now.
            if is_another && let Some(past) = &mut reader.past {
                *past = Past::default();
                return self.list_versions().into_iter().collect();
            }
        }
        Vec::new()
    }

    pub(super) fn listed_versions(&mut self, report: HistoryReport) -> Vec<Wish> {
        let reader = self.reader.as_mut();
        let Some(reader) = reader.filter(|reader| reader.id().as_ref() == Some(&report.document))
        else {
            return Vec::new();
        };
        let Some(past) = &mut reader.past else {
            return Vec::new();
        };
        past.failure = None;
        past.report = Some(report);
        if past.chosen.is_none() {
            return Vec::new();
        }
        self.compare().into_iter().collect()
    }

    pub(super) fn compared(&mut self, report: DifferenceReport) {
        let past = self.reader.as_mut().and_then(|reader| reader.past.as_mut());
        if let Some(past) = past
            && past.chosen.as_ref() == report.from.as_ref().map(|from| &from.id)
        {
            past.difference = Some(report);
        }
    }

    pub(super) fn document_failed(&mut self, id: JobId, purpose: Purpose, failure: Failure) {
        let Some(reader) = &mut self.reader else {
            return;
        };
        match purpose {
            Purpose::Past => {
                if let Some(past) = &mut reader.past {
                    past.failure = Some(failure);
                }
            }
            // Removed on another laptop. Any other failure leaves what is shown.
            Purpose::Reread if failure.kind == FailureKind::NotFound => {
                reader.document = None;
                reader.past = None;
                reader.failure = Some(failure);
            }
            Purpose::Read if reader.running == Some(id) => {
                reader.running = None;
                reader.document = None;
                reader.failure = Some(failure);
            }
            _ => {}
        }
    }
}

impl Reader {
    /// Another laptop has changed the document that is shown.
    fn take_in(&mut self, document: DocumentText) {
        let Some(shown) = &mut self.document else {
            return;
        };
        if shown.document.id != document.document.id {
            return;
        }
        let place = shown.place.take();
        let page = shown.page;
        let before = std::mem::replace(shown, document);
        if before.text != shown.text {
            // What the view has laid out, if several came one after the other.
            self.before.get_or_insert(before.text);
        } else {
            (shown.place, shown.page) = (place, page);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{DocumentSummary, Event, Reply};

    fn document(id: &str, text: &str) -> Event {
        let document = DocumentText {
            document: DocumentSummary {
                id: id.to_owned(),
                title: "Ferry".to_owned(),
                path: None,
                elsewhere: false,
                media_type: "text/plain".to_owned(),
                text_bytes: 0,
                original_bytes: 0,
                imported_at_ms: 0,
                indexed: true,
                note: None,
            },
            text: text.to_owned(),
            is_markdown: false,
            place: None,
            page: None,
        };
        Event::Reply(Box::new(Reply::Document(document)))
    }

    fn opened() -> SessionState {
        let mut state = SessionState::default();
        let (job, _) = state.read("a");
        state.apply(job, document("a", "one"));
        state
    }

    #[test]
    fn what_arrives_replaces_the_text_that_is_shown_and_no_other() {
        let mut state = opened();
        let visit = state.reader.as_ref().unwrap().visit;
        let arrived = Event::Arrived {
            documents: 1,
            chats: 0,
        };
        let watch = state.begin(Purpose::Watch, "");
        let wishes = state.apply(watch, arrived);
        let again = wishes.iter().filter(|wish| wish.purpose == Purpose::Reread);
        assert_eq!(again.count(), 1);
        for (id, text) in [("a", "two"), ("b", "other"), ("a", "three")] {
            let job = state.begin(Purpose::Reread, "");
            state.apply(job, document(id, text));
        }
        let reader = state.reader.as_ref().unwrap();
        assert_eq!(reader.document.as_ref().unwrap().text, "three");
        assert_eq!(reader.before.as_deref(), Some("one"), "what is laid out");
        assert_eq!(reader.visit, visit, "the view stays where it is");

        let job = state.begin(Purpose::Reread, "");
        let gone = Failure::new(FailureKind::NotFound, "there is no document a");
        state.apply(job, Event::Failed(gone));
        assert!(state.reader.as_ref().unwrap().failure.is_some());
        assert!(state.notices.is_empty());
    }

    #[test]
    fn versions_are_listed_and_compared_with_the_present_text() {
        let mut state = opened();
        assert_eq!(state.toggle_past().len(), 1);
        assert!(
            state.reread().len() == 2,
            "the versions are listed again, too"
        );
        let report = HistoryReport {
            document: "a".to_owned(),
            title: String::new(),
            total: 0,
            versions: Vec::new(),
        };
        let listed =
            |report: &HistoryReport| Event::Reply(Box::new(Reply::History(report.clone())));
        let job = state.begin(Purpose::Past, "");
        assert!(state.apply(job, listed(&report)).is_empty());
        assert_eq!(state.choose_version("0a1b2c3d").len(), 1);
        let job = state.begin(Purpose::Past, "");
        assert_eq!(state.apply(job, listed(&report)).len(), 1, "compared anew");
        let other = HistoryReport {
            document: "b".to_owned(),
            total: 7,
            ..report
        };
        let job = state.begin(Purpose::Past, "");
        state.apply(job, listed(&other));
        let past = state.reader.as_ref().unwrap().past.as_ref().unwrap();
        assert_eq!(past.report.as_ref().unwrap().total, 0);
        assert!(state.toggle_past().is_empty());
        assert!(state.reader.as_ref().unwrap().past.is_none());
    }
}
