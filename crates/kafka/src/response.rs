//! A response as the pieces that are written to the socket.
//!
//! Invariant: the pieces in order are exactly one frame, length included; a
//! piece that holds records is a slice of the log's own memory, never a copy.
//! Made by the codec and by Fetch, taken apart by the connection.

use bytes::Bytes;

/// One response frame.
#[derive(Debug, Default)]
pub struct Response {
    first: Bytes,
    rest: Vec<Bytes>,
    bytes: usize,
    error: i16,
}

impl Response {
    /// A response of several pieces.
    #[must_use]
    pub fn from_pieces(first: Bytes, rest: Vec<Bytes>) -> Self {
        let bytes = first.len() + rest.iter().map(Bytes::len).sum::<usize>();
        Self { first, rest, bytes, error: 0 }
    }

    /// The same response, known to say the error of this code (0 for none):
    /// what it is counted under.
    #[must_use]
    pub fn with_error(mut self, code: i16) -> Self {
        self.error = code;
        self
    }

    /// Code of the first error that it says, 0 for none.
    #[must_use]
    pub fn error_code(&self) -> i16 {
        self.error
    }

    /// Length of the frame in bytes, its length prefix included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The pieces in the order in which they are written.
    pub fn into_pieces(self) -> impl Iterator<Item = Bytes> {
        std::iter::once(self.first).chain(self.rest)
    }

    /// The whole frame in one buffer; for tests and small responses.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        if self.rest.is_empty() {
            return self.first.clone();
        }
        let mut all = Vec::with_capacity(self.bytes);
        all.extend_from_slice(&self.first);
        self.rest.iter().for_each(|piece| all.extend_from_slice(piece));
        all.into()
    }
}

impl From<Bytes> for Response {
    fn from(frame: Bytes) -> Self {
        Self::from_pieces(frame, Vec::new())
    }
}
