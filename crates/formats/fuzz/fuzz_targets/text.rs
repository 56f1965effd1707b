//! Any bytes, read in any form of an import: what is taken is an indicator in its one spelling. The
//! first byte chooses the form; from 6 on, the bytes decide.
#![no_main]

use std::io::Cursor;

use iocast_domain::normalise::of_kind;
use iocast_formats::read::{
    Input, Item, Options,
    form::{Stated, recognise},
    read,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, text)) = bytes.split_first() else { return };
    let input = match Input::ALL.get(usize::from(*first)) {
        Some(input) => *input,
        None => recognise(text, Stated::Nothing),
    };
    let all = Options { live_links: first % 2 == 0, observables: true, ..Options::default() };
    let _ = read(input, &mut Cursor::new(text), all, &mut |item| {
        if let Item::Sighting(sighting) = item
            && let Some((kind, value)) = sighting.indicator
        {
            assert_eq!(of_kind(kind, &value), Ok((kind, value.clone())), "{input:?}");
        }
        true
    });
});
