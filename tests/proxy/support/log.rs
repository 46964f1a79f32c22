//! What the control plane logs, which runs on the test's own thread.

use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use tracing::subscriber::DefaultGuard;

/// What is logged on this thread from now on.
pub(crate) struct Log {
    written: Written,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub(crate) fn start() -> Self {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false);
        let subscriber = subscriber.with_writer(move || writer.clone()).finish();
        Self { written, _guard: tracing::subscriber::set_default(subscriber) }
    }

    pub(crate) fn says(&self, text: &str) -> bool {
        self.times(text) > 0
    }

    /// How often it says this.
    pub(crate) fn times(&self, text: &str) -> usize {
        String::from_utf8_lossy(&self.written.0.lock()).matches(text).count()
    }
}
