//! Files as analysts have them, where `IOCAST_SAMPLES` names their folder: each small case gives
//! exactly its outcome, and each real file gives the counts that are kept here.

#![expect(clippy::unwrap_used, reason = "a test that goes wrong ends there")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    io::Cursor,
    path::{Path, PathBuf},
};

use iocast_formats::read::{
    Input, Item, Options, Rejected,
    form::{HEAD, Stated, of_file_name, recognise, wrapping},
    read,
    unpack::unpack,
};
use proptest::strategy::Strategy as _;

fn samples() -> Option<PathBuf> {
    let samples = std::env::var_os("IOCAST_SAMPLES").map(PathBuf::from);
    if samples.is_none() {
        println!("IOCAST_SAMPLES names no folder: nothing was read");
    }
    samples
}

/// What comes out of a file.
#[derive(Default)]
struct Outcome {
    form: Option<Input>,
    taken: BTreeSet<String>,
    rejected: Vec<Rejected>,
}

fn import(bytes: &[u8], stated: Stated) -> Result<Outcome, String> {
    let mut bytes = bytes.to_vec();
    while let Some(around) = wrapping(&bytes[..bytes.len().min(HEAD)])? {
        let path = std::env::temp_dir().join(format!("iocast-intake-{}", std::process::id()));
        let mut from = Cursor::new(bytes);
        unpack(around, &mut from, 1 << 30, &mut |_| fs::File::create(&path))
            .map_err(|error| error.to_string())?;
        bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
    }
    let form = recognise(&bytes[..bytes.len().min(HEAD)], stated);
    let mut outcome = Outcome { form: Some(form), ..Outcome::default() };
    read(form, &mut Cursor::new(&bytes), Options::default(), &mut |item| {
        match item {
            Item::Sighting(sighting) => {
                outcome.taken.insert(sighting.indicator.unwrap().1);
            }
            Item::Rejected(rejected) => outcome.rejected.push(rejected),
            Item::Remark(_) => {}
        }
        true
    })
    .map_err(|error| error.to_string())?;
    Ok(outcome)
}

/// The outcome that a case asks for.
struct Expected {
    content_type: String,
    taken: BTreeSet<String>,
    /// Good to have as well.
    also: BTreeSet<String>,
}

impl Expected {
    fn read(text: &str) -> Option<Self> {
        let content_type =
            text.lines().find_map(|line| line.strip_prefix("Sent as: `"))?.trim_end();
        let listed = text.split("Taken, exactly these").nth(1)?;
        let taken = listed
            .lines()
            .skip(1)
            .skip_while(|line| line.is_empty())
            .map_while(|line| line.strip_prefix("- `")?.strip_suffix('`'))
            .map(str::to_owned)
            .collect();
        let also = text
            .split("Good to have as well: ")
            .nth(1)
            .map_or("", |rest| rest.split(".\n").next().unwrap_or_default());
        let also = also.split(", ").map(str::to_owned).collect();
        Some(Self { content_type: content_type.trim_end_matches('`').to_owned(), taken, also })
    }
}

#[test]
fn each_case_gives_exactly_its_outcome() {
    let Some(samples) = samples() else { return };
    let mut wrong = String::new();
    let mut cases = 0;
    for path in files(&samples.join("intake-cases")) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some(case) = name.strip_suffix(".expected.md") else { continue };
        let Some(expected) = Expected::read(&fs::read_to_string(&path).unwrap()) else { continue };
        cases += 1;
        let bytes = fs::read(path.with_file_name(case)).unwrap();
        let stated = Input::from_content_type(&expected.content_type).unwrap();
        match import(&bytes, stated) {
            Err(error) => writeln!(wrong, "{case}: {error}").unwrap(),
            Ok(outcome) => {
                let missing: Vec<_> = expected.taken.difference(&outcome.taken).collect();
                let surplus: Vec<_> = outcome
                    .taken
                    .iter()
                    .filter(|v| !expected.taken.contains(*v) && !expected.also.contains(*v))
                    .collect();
                if !missing.is_empty() || !surplus.is_empty() {
                    writeln!(
                        wrong,
                        "{case} ({:?}): missing {missing:?}, surplus {surplus:?}, refused {:?}",
                        outcome.form.unwrap(),
                        outcome.rejected
                    )
                    .unwrap();
                }
            }
        }
    }
    assert!(cases > 40, "{cases} cases");
    assert!(wrong.is_empty(), "{wrong}");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Counts of real files: form, taken, refused. `IOCAST_WRITE_COUNTS=1` writes them again, and
/// `IOCAST_SHOW=part of a name` prints what was taken and refused.
#[test]
fn each_real_file_gives_the_counts_that_are_kept() {
    let Some(samples) = samples() else { return };
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/intake_counts.tsv");
    let show = std::env::var("IOCAST_SHOW").ok();
    let mut now = BTreeMap::new();
    for folder in ["intake-files", "misp-events", "reports", "malware-trails"] {
        let folder = samples.join(folder);
        for path in files(&folder) {
            let name = path.strip_prefix(&samples).unwrap().to_string_lossy().into_owned();
            if name.contains("LICENSE") || name.ends_with("README.md") {
                continue;
            }
            let counts = match import(&fs::read(&path).unwrap(), of_file_name(&name)) {
                Ok(outcome) => {
                    if show.as_ref().is_some_and(|part| name.contains(part)) {
                        println!("{name}: {:#?}\n{:#?}", outcome.taken, outcome.rejected);
                    }
                    format!(
                        "{}\t{}\t{}",
                        outcome.form.unwrap().word(),
                        outcome.taken.len(),
                        outcome.rejected.len()
                    )
                }
                Err(error) => format!("error\t0\t{error}"),
            };
            now.insert(name, counts);
        }
    }
    let text: String = now.iter().map(|(name, counts)| format!("{name}\t{counts}\n")).collect();
    if std::env::var_os("IOCAST_WRITE_COUNTS").is_some() {
        fs::write(&kept, &text).unwrap();
    }
    let before = fs::read_to_string(&kept).unwrap_or_default();
    let changed: Vec<&str> =
        text.lines().filter(|line| !before.lines().any(|old| old == *line)).collect();
    assert!(changed.is_empty(), "these differ from {}:\n{}", kept.display(), changed.join("\n"));
}

proptest::proptest! {
    /// Pieces of every form, in any order: each reader ends, and says something of it.
    #[test]
    fn no_bytes_stop_a_reader(
        pieces in proptest::collection::vec(
            proptest::prop_oneof![
                proptest::collection::vec(proptest::prelude::any::<u8>(), 0..12),
                proptest::sample::select(vec![
                    "evil[.]example", "203.0.113.7", "hxxp://a.example/x", ",", ";", "\t", "|", "\n", "\r\n", "#", "\"", "'",
                    "{", "}", "[", "]", ":", "\"value\"", "\"Event\"", "\"objects\"", "\"pattern\"", "<", ">", "<ioc ", "</", "<script>",
                    "&amp;", "value,type", "# Indicators", "](", "://", "\u{200b}", "\\", "1-2", " ", "098f6bcd4621d373cade4e832627b4f6",
                ]).prop_map(|piece| piece.as_bytes().to_vec()),
            ],
            0..40,
        ),
    ) {
        let bytes = pieces.concat();
        let _ = import(&bytes, Stated::Nothing);
        for form in Input::ALL {
            let _ = import(&bytes, Stated::Chosen(*form));
        }
    }
}
