//! Compressed pieces that join into one gzip stream.
//!
//! Each piece is deflated on its own up to a full flush, so that pieces which did not change are
//! used again. They are joined into **one** gzip member: libcurl silently drops every member but
//! the first.

use std::io::{self, Read};

use flate2::{Compress, Compression, FlushCompress, Status, bufread::GzDecoder};

/// A deflated piece of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Raw deflate up to a full flush, without a final block.
    pub data: Vec<u8>,
    /// CRC-32 of the piece before compression.
    pub crc: u32,
    /// Length before compression, in bytes.
    pub raw_len: u64,
}

const LEVEL: u32 = 4;
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
const END: [u8; 2] = [3, 0];
/// What [`join`] adds to the pieces: header, end mark, CRC-32 and length, in bytes.
pub const OVERHEAD: u64 = 20;

/// Deflates a piece.
///
/// # Errors
/// If the compressor fails, which it does only by a fault of its own.
pub fn segment(raw: &[u8]) -> io::Result<Segment> {
    let mut deflate = Compress::new(Compression::new(LEVEL), false);
    let mut data = Vec::with_capacity(raw.len() / 4 + 64);
    loop {
        let done = usize::try_from(deflate.total_in()).unwrap_or(usize::MAX);
        let room_before = data.capacity() - data.len();
        let status = deflate
            .compress_vec(raw.get(done..).unwrap_or_default(), &mut data, FlushCompress::Full)
            .map_err(io::Error::other)?;
        let all_read = deflate.total_in() == raw.len() as u64;
        // A flush is complete once the output had room to spare.
        if all_read && data.len() < data.capacity() {
            break;
        }
        if status == Status::BufError && room_before > 16 && all_read {
            break;
        }
        data.reserve(raw.len() / 8 + 1_024);
    }
    Ok(Segment { data, crc: crc32fast::hash(raw), raw_len: raw.len() as u64 })
}

/// Joins pieces, given as (deflated bytes, CRC-32, length before compression), into one gzip
/// stream.
pub fn join<'a>(segments: impl IntoIterator<Item = (&'a [u8], u32, u64)>) -> Vec<u8> {
    let mut out = HEADER.to_vec();
    let mut crc = crc32fast::Hasher::new();
    let mut length: u64 = 0;
    for (data, piece_crc, raw_len) in segments {
        out.extend_from_slice(data);
        crc.combine(&crc32fast::Hasher::new_with_initial_len(piece_crc, raw_len));
        length = length.wrapping_add(raw_len);
    }
    out.extend_from_slice(&END);
    out.extend_from_slice(&crc.finalize().to_le_bytes());
    let [a, b, c, d, ..] = length.to_le_bytes();
    out.extend_from_slice(&[a, b, c, d]);
    out
}

/// The deflated bytes of a piece within what [`join`] made: `before` bytes of other pieces, then
/// `len` of this.
#[must_use]
pub fn piece(joined: &[u8], before: u64, len: u64) -> Option<&[u8]> {
    let begin = HEADER.len() + usize::try_from(before).ok()?;
    joined.get(begin..begin + usize::try_from(len).ok()?)
}

/// The plain bytes of a gzip stream made by [`join`].
///
/// # Errors
/// If the stream is damaged.
pub fn inflate(gzip: &[u8], raw_len: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(usize::try_from(raw_len).unwrap_or(0));
    GzDecoder::new(gzip).read_to_end(&mut out)?;
    Ok(out)
}

/// The first plain bytes of a gzip stream made by [`join`]; no more of it is inflated.
///
/// # Errors
/// If the stream is damaged.
pub fn inflate_start(gzip: &[u8], most: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    GzDecoder::new(gzip).take(most).read_to_end(&mut out)?;
    Ok(out)
}

/// The plain bytes of one piece.
///
/// # Errors
/// If the piece is damaged.
pub fn inflate_segment(segment: &Segment) -> io::Result<Vec<u8>> {
    inflate(&join([(segment.data.as_slice(), segment.crc, segment.raw_len)]), segment.raw_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_into_one_member() {
        let long: Vec<u8> =
            (0..300_000_u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let pieces: [&[u8]; 4] = [b"first\n", b"", &long, b"last"];
        let segments: Vec<_> = pieces.iter().map(|p| segment(p).unwrap()).collect();
        let gzip = join(segments.iter().map(|s| (s.data.as_slice(), s.crc, s.raw_len)));
        let whole = pieces.concat();
        assert_eq!(inflate(&gzip, whole.len() as u64).unwrap(), whole);
        assert_eq!(
            gzip.len() as u64,
            segments.iter().map(|s| s.data.len() as u64).sum::<u64>() + OVERHEAD
        );
        let mut before = 0;
        for (piece, segment) in pieces.iter().zip(&segments) {
            assert_eq!(inflate_segment(segment).unwrap(), *piece);
            let len = segment.data.len() as u64;
            assert_eq!(super::piece(&gzip, before, len), Some(segment.data.as_slice()));
            before += len;
        }
    }
}
