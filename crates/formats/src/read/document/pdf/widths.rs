//! Widths of characters, written so that the library reads them.
//!
//! It takes those of a range (`19 28 636`: characters 19 to 28) for something else, and words fall
//! apart at each digit; in a list (`19 [636 636 …]`) it reads them.

use pdf_extract::{Document, Object, ObjectId};

/// Most characters of a font.
const CHARACTERS_MAX: usize = 1 << 16;

/// Writes the widths of all fonts as lists.
pub(super) fn as_lists(document: &mut Document) {
    let mut elsewhere: Vec<ObjectId> = Vec::new();
    for object in document.objects.values_mut() {
        let Object::Dictionary(font) = object else { continue };
        if !font.has(b"CIDSystemInfo") {
            continue;
        }
        match font.get_mut(b"W") {
            Ok(Object::Array(widths)) => *widths = listed(widths),
            Ok(Object::Reference(id)) => elsewhere.push(*id),
            _ => {}
        }
    }
    for id in elsewhere {
        if let Some(Object::Array(widths)) = document.objects.get_mut(&id) {
            *widths = listed(widths);
        }
    }
}

fn listed(widths: &[Object]) -> Vec<Object> {
    let mut out = Vec::with_capacity(widths.len());
    let mut rest = widths;
    while let [first, second, behind @ ..] = rest {
        if let Object::Array(_) = second {
            out.extend([first.clone(), second.clone()]);
            rest = behind;
            continue;
        }
        let [width, behind @ ..] = behind else { break };
        let count = match (first.as_i64(), second.as_i64()) {
            (Ok(first), Ok(last)) => usize::try_from(last - first + 1).unwrap_or(0),
            _ => 0,
        };
        out.push(first.clone());
        out.push(Object::Array(vec![width.clone(); count.min(CHARACTERS_MAX)]));
        rest = behind;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_become_lists() {
        let number = Object::Integer;
        let widths = [
            number(3),
            Object::Array(vec![number(250)]),
            number(19),
            number(21),
            number(636),
            number(40),
        ];
        let list = Object::Array(vec![number(636); 3]);
        let one = Object::Array(vec![number(250)]);
        assert_eq!(listed(&widths), [number(3), one, number(19), list]);
    }
}
