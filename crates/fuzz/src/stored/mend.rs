//! Puts right what a fuzzer cannot guess: magics, versions, checksums, and
//! lengths that must agree with each other. Everything else stays as it was.
//! The positions are those of `docs/format.md`, written a second time.

use millrace_log::{
    BLOCK, FORMAT_VERSION,
    frame::{self, DIRECTORY_ENTRY_LEN, EXTENT_LEN, FRAME_HEADER_LEN, TRAILER_LEN},
};

/// Bytes of a file header before its zeros.
pub const FILE_HEADER_USED: usize = 68;
/// Bytes of a checkpoint's header.
const CHECKPOINT_HEADER_LEN: usize = millrace_log::checkpoint::CHECKPOINT_HEADER_LEN;
/// Bytes before a chunk's body.
const CHUNK_HEADER_LEN: usize = millrace_log::checkpoint::CHUNK_HEADER_LEN;
/// The number of the chunk that ends a checkpoint.
const END: u8 = 255;

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// A frame's header and the table behind it.
#[must_use]
pub fn front(bytes: &[u8]) -> Vec<u8> {
    if bytes.len() < FRAME_HEADER_LEN {
        return bytes.to_vec();
    }
    let (header, table) = bytes.split_at(FRAME_HEADER_LEN);
    let (header, table) = frame_header(header, table, *b"MLRF");
    [header, table].concat()
}

/// A frame's table and the header behind it.
#[must_use]
pub fn back(bytes: &[u8]) -> Vec<u8> {
    if bytes.len() < FRAME_HEADER_LEN {
        return bytes.to_vec();
    }
    let (table, header) = bytes.split_at(bytes.len() - FRAME_HEADER_LEN);
    // The table ends at the header.
    let table = &table[table.len() % EXTENT_LEN..];
    let (header, table) = frame_header(header, table, *b"MLRB");
    [table, header].concat()
}

fn frame_header(header: &[u8], table: &[u8], magic: [u8; 4]) -> (Vec<u8>, Vec<u8>) {
    let extents = table.len() / EXTENT_LEN;
    let table = table[..extents * EXTENT_LEN].to_vec();
    let mut header = header.to_vec();
    let front_len = u32_at(&header, 12) as usize % (1 << 20) / BLOCK * BLOCK;
    let front_len = front_len.max(frame::front_len(extents));
    let payload_len = u32_at(&header, 16) as usize % (1 << 28);
    let end = front_len + payload_len;
    let frame_len = end + frame::back_len(end, extents);
    let position = u64_at(&header, 48) / BLOCK as u64 * BLOCK as u64;
    put(&mut header, 0, &magic);
    put(&mut header, 8, &(frame_len as u32).to_le_bytes());
    put(&mut header, 12, &(front_len as u32).to_le_bytes());
    put(&mut header, 16, &(payload_len as u32).to_le_bytes());
    put(&mut header, 20, &(extents as u32).to_le_bytes());
    put(&mut header, 48, &position.to_le_bytes());
    // Seeded with incarnation, file and position, as they stand in the header.
    let mut crc = crc32c::crc32c(&header[32..56]);
    crc = crc32c::crc32c_append(crc, &header[8..]);
    crc = crc32c::crc32c_append(crc, &table);
    put(&mut header, 4, &crc.to_le_bytes());
    (header, table)
}

/// The part of a file header that is used.
#[must_use]
pub fn file_header(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    if out.len() < FILE_HEADER_USED {
        return out;
    }
    put(&mut out, 0, b"MILLRACE");
    put(&mut out, 8, &FORMAT_VERSION.to_le_bytes());
    let crc = crc32c::crc32c(&out[..64]);
    put(&mut out, 64, &crc.to_le_bytes());
    out
}

/// Where a trailer says that the footer begins.
#[must_use]
pub fn table_position(trailer: &[u8]) -> u64 {
    if trailer.len() < TRAILER_LEN { 0 } else { u64_at(trailer, 56) }
}

/// A footer without its padding. The numbers of partitions and inputs stay
/// where the bytes suffice; the rest of them are extents.
#[must_use]
pub fn footer(bytes: &[u8]) -> Vec<u8> {
    let Some(body_len) = bytes.len().checked_sub(TRAILER_LEN) else { return bytes.to_vec() };
    let (body, trailer) = bytes.split_at(body_len);
    let (mut body, mut trailer) = (body.to_vec(), trailer.to_vec());
    let inputs = (u32_at(&trailer, 76) as usize).min(body.len() / 8).min(16);
    let left = body.len() - inputs * 8;
    let partitions = (u32_at(&trailer, 68) as usize).min(left / DIRECTORY_ENTRY_LEN);
    let extents = (left - partitions * DIRECTORY_ENTRY_LEN) / EXTENT_LEN;
    let directory_at = extents * EXTENT_LEN;
    let inputs_at = directory_at + partitions * DIRECTORY_ENTRY_LEN;
    body.truncate(inputs_at + inputs * 8);

    let mut first = 0_usize;
    for index in 0..partitions {
        let at = directory_at + index * DIRECTORY_ENTRY_LEN;
        let left = extents - first;
        let last = index + 1 == partitions;
        let count = if last { left } else { (u32_at(&body, at + 24) as usize).min(left) };
        let crc = crc32c::crc32c(&body[first * EXTENT_LEN..(first + count) * EXTENT_LEN]);
        put(&mut body, at + 20, &(first as u32).to_le_bytes());
        put(&mut body, at + 24, &(count as u32).to_le_bytes());
        put(&mut body, at + 28, &crc.to_le_bytes());
        first += count;
    }
    let position = u64_at(&trailer, 56) % (1 << 40) / BLOCK as u64 * BLOCK as u64;
    put(&mut trailer, 0, b"MLRT");
    put(&mut trailer, 8, &FORMAT_VERSION.to_le_bytes());
    put(&mut trailer, 56, &position.to_le_bytes());
    put(&mut trailer, 64, &(extents as u32).to_le_bytes());
    put(&mut trailer, 68, &(partitions as u32).to_le_bytes());
    put(&mut trailer, 72, &crc32c::crc32c(&body[directory_at..inputs_at]).to_le_bytes());
    put(&mut trailer, 76, &(inputs as u32).to_le_bytes());
    put(&mut trailer, 80, &crc32c::crc32c(&body[inputs_at..]).to_le_bytes());
    let crc = crc32c::crc32c(&trailer[8..]);
    put(&mut trailer, 4, &crc.to_le_bytes());
    [body, trailer].concat()
}

/// A checkpoint: its header, and every chunk whose length fits.
#[must_use]
pub fn checkpoint(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    if out.len() < CHECKPOINT_HEADER_LEN {
        return out;
    }
    put(&mut out, 0, b"MLRCHKPT");
    put(&mut out, 8, &FORMAT_VERSION.to_le_bytes());
    let crc = crc32c::crc32c(&out[..64]);
    put(&mut out, 64, &crc.to_le_bytes());
    let mut at = CHECKPOINT_HEADER_LEN;
    let mut chunks = 0_u32;
    while at + CHUNK_HEADER_LEN <= out.len() {
        let body = at + CHUNK_HEADER_LEN;
        let len = (u32_at(&out, at + 4) as usize).min(out.len() - body);
        if out[at] == END && len == 4 {
            put(&mut out, body, &chunks.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out[body..body + len]);
        put(&mut out, at + 4, &(len as u32).to_le_bytes());
        put(&mut out, at + 8, &crc.to_le_bytes());
        let crc = crc32c::crc32c(&out[at..at + 12]);
        put(&mut out, at + 12, &crc.to_le_bytes());
        chunks += 1;
        at = body + len;
    }
    out
}

/// A record batch: length, magic and checksum.
#[must_use]
pub fn batch(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    if out.len() < millrace_log::batch::HEADER_LEN {
        return out;
    }
    let len = out.len() as u32 - 12;
    put(&mut out, 8, &len.to_be_bytes());
    out[16] = 2;
    let crc = crc32c::crc32c(&out[21..]);
    put(&mut out, 17, &crc.to_be_bytes());
    out
}

/// The checksums of a whole log file where its structures stand, and nothing
/// else: header, frames, footer.
pub fn log_file(bytes: &mut [u8]) {
    if bytes.len() >= FILE_HEADER_USED {
        let crc = crc32c::crc32c(&bytes[..64]);
        put(bytes, 64, &crc.to_le_bytes());
    }
    for at in (BLOCK..bytes.len()).step_by(BLOCK) {
        if bytes[at..].starts_with(b"MLRF") && at + FRAME_HEADER_LEN <= bytes.len() {
            let from = at + FRAME_HEADER_LEN;
            frame_crc(bytes, at, from);
        }
        let Some(header) = (at + BLOCK).checked_sub(FRAME_HEADER_LEN) else { continue };
        if bytes.get(header..).is_some_and(|rest| rest.starts_with(b"MLRB")) {
            let len = u32_at(bytes, header + 20) as usize * EXTENT_LEN;
            if let Some(from) = header.checked_sub(len) {
                frame_crc(bytes, header, from);
            }
        }
    }
    footer_crcs(bytes);
}

fn frame_crc(bytes: &mut [u8], header: usize, table: usize) {
    let len = u32_at(bytes, header + 20) as usize * EXTENT_LEN;
    let Some(table) = bytes.get(table..table.saturating_add(len)) else { return };
    let fields = &bytes[header..header + FRAME_HEADER_LEN];
    let mut crc = crc32c::crc32c(&fields[32..56]);
    crc = crc32c::crc32c_append(crc, &fields[8..]);
    crc = crc32c::crc32c_append(crc, table);
    put(bytes, header + 4, &crc.to_le_bytes());
}

fn footer_crcs(bytes: &mut [u8]) {
    let Some(at) = bytes.len().checked_sub(TRAILER_LEN) else { return };
    if !bytes[at..].starts_with(b"MLRT") {
        return;
    }
    let number = |from: usize| u32_at(bytes, at + from) as usize;
    let (extents, partitions, inputs) = (number(64), number(68), number(76));
    let table = usize::try_from(u64_at(bytes, at + 56)).unwrap_or(usize::MAX);
    let directory = table.saturating_add(extents * EXTENT_LEN);
    let ids = directory.saturating_add(partitions * DIRECTORY_ENTRY_LEN);
    if ids.saturating_add(inputs * 8) <= at {
        for index in 0..partitions {
            let entry = directory + index * DIRECTORY_ENTRY_LEN;
            let from = table + u32_at(bytes, entry + 20) as usize * EXTENT_LEN;
            let to = from + u32_at(bytes, entry + 24) as usize * EXTENT_LEN;
            if let Some(extents) = bytes.get(from..to) {
                let crc = crc32c::crc32c(extents);
                put(bytes, entry + 28, &crc.to_le_bytes());
            }
        }
        let crc = crc32c::crc32c(&bytes[directory..ids]);
        put(bytes, at + 72, &crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[ids..ids + inputs * 8]);
        put(bytes, at + 80, &crc.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes[at + 8..]);
    put(bytes, at + 4, &crc.to_le_bytes());
}
