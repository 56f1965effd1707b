//! Any bytes, unpacked as what they begin like: an archive, a document, another encoding. The first
//! byte chooses the document where nothing tells it.
#![no_main]

use std::io::{self, Cursor};

use iocast_formats::read::{
    document::Document,
    form::{Wrapping, wrapping},
    unpack::{office, unpack},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, body)) = bytes.split_first() else { return };
    let stated = Document::ALL.get(usize::from(*first)).copied().map(Wrapping::Document);
    let told = wrapping(body).ok().flatten();
    let _ = office(&mut Cursor::new(body));
    let Some(wrapping) = stated.or(told) else { return };
    let _ = unpack(wrapping, &mut Cursor::new(body), 1 << 20, &mut |_| Ok(io::sink()));
});
