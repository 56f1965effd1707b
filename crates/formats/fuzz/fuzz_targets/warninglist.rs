//! Any bytes, read as warninglists: what is read is written and read again as the same.
#![no_main]

use std::io::Cursor;

use iocast_domain::{
    id::WarninglistId,
    ioc::Kind,
    warninglist::{Builder, ListMatch, ListMode},
};
use iocast_formats::read::warninglist::{one, read, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = read(Cursor::new(bytes), &mut |found| {
        let Ok(list) = found else { return true };
        let mut written = Vec::new();
        write(&list, &mut written).expect("it is written to memory");
        assert_eq!(one(written.as_slice()).as_ref(), Ok(&list));
        let on = ListMatch {
            id: WarninglistId(Default::default()),
            name: list.name,
            mode: ListMode::Withhold,
        };
        let mut builder = Builder::default();
        let entries = list.entries.iter().map(String::as_str);
        builder.add(on, &list.attributes, list.matching, entries);
        let (lists, _) = builder.finish();
        for (kind, value) in [(Kind::Domain, "a.b.example"), (Kind::Ipv4, "192.0.2.0/24")] {
            assert_eq!(lists.withhold(kind, value), !lists.matches(kind, value).is_empty());
        }
        true
    });
});
