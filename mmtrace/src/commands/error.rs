//! Errors while a capture is shown.

use std::io;

use mmtrace_capture::{CaptureError, FilterError};

/// An error while showing a capture.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    /// The capture cannot be opened.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The filter makes no sense.
    #[error("--filter: {0}")]
    Filter(#[from] FilterError),
    /// The output cannot be written. (A reader that has seen enough is no error.)
    #[error("cannot write the output ({0}), so it is incomplete")]
    Output(#[from] io::Error),
}

impl ShowError {
    /// Success when the reader of a pipe has gone away.
    pub(super) fn unless_broken_pipe(result: io::Result<()>) -> Result<(), Self> {
        match result {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => Ok(other?),
        }
    }
}
