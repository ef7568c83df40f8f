//! A host of one file on this machine, with ranges, as slow as a test wants it.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Sent at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Serves one file under every path. Its threads end with the process of the test.
pub struct FileHost {
    address: String,
    served_bytes: Arc<AtomicU64>,
}

impl FileHost {
    /// Serves `path`; waits `pause` after each quarter of a MiB.
    ///
    /// # Panics
    /// When no port is free or the file cannot be read.
    #[must_use]
    pub fn start(path: &Path, pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("a port").to_string();
        let served_bytes = Arc::new(AtomicU64::new(0));
        let (path, served) = (path.to_owned(), Arc::clone(&served_bytes));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (path, served) = (path.clone(), Arc::clone(&served));
                // A client that was killed ends its connection.
                std::thread::spawn(move || drop(serve(stream, path, pause, &served)));
            }
        });
        Self {
            address,
            served_bytes,
        }
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Bytes of the file that were sent.
    #[must_use]
    pub fn served_bytes(&self) -> u64 {
        self.served_bytes.load(Ordering::Relaxed)
    }
}

fn serve(
    stream: TcpStream,
    path: PathBuf,
    pause: Duration,
    served: &AtomicU64,
) -> std::io::Result<()> {
    let mut file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    let mut output = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    loop {
        let mut range = None;
        let Some(_request) = lines.next().transpose()? else {
            return Ok(());
        };
        for line in lines.by_ref() {
            let line = line?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some((first, last)) = line
                .strip_prefix("range: bytes=")
                .and_then(|range| range.split_once('-'))
            {
                range = first.parse::<u64>().ok().zip(last.parse::<u64>().ok());
            }
        }
        let (first, last) = range.unwrap_or((0, size - 1));
        let last = last.min(size - 1);
        write!(
            output,
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{last}/{size}\r\nContent-Length: {}\r\nETag: \"one\"\r\n\r\n",
            last + 1 - first
        )?;
        file.seek(SeekFrom::Start(first))?;
        let mut left = last + 1 - first;
        let mut piece = vec![0; PIECE_BYTES];
        while left > 0 {
            let len = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            file.read_exact(&mut piece[..len])?;
            output.write_all(&piece[..len])?;
            served.fetch_add(len as u64, Ordering::Relaxed);
            left -= len as u64;
            std::thread::sleep(pause);
        }
    }
}
