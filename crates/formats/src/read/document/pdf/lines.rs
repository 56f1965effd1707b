//! Characters with their places on a page become lines of text.

use pdf_extract::{MediaBox, OutputDev, OutputError, Transform};

/// A gap between words, in parts of the letter size. Letters of one word are moved apart by up to a
/// tenth to look well, and words by a fifth at least.
const WORD: f64 = 0.2;
/// A gap between the cells of a table.
const CELL: f64 = 1.5;
/// How much higher or lower another line is. Raised digits are moved less.
const LINE: f64 = 0.5;

/// Collects the text of a page.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) text: String,
    /// Where the last character ended, and on which height.
    last: Option<(f64, f64)>,
    /// A new piece of text begins: only between pieces are there gaps.
    begins: bool,
}

impl OutputDev for Lines {
    fn begin_page(
        &mut self,
        _: u32,
        _: &MediaBox,
        _: Option<(f64, f64, f64, f64)>,
    ) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_page(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn output_character(
        &mut self,
        place: &Transform,
        width: f64,
        _spacing: f64,
        font_size: f64,
        character: &str,
    ) -> Result<(), OutputError> {
        let (x, y) = (place.m31, place.m32);
        let across = font_size * (place.m11 + place.m21);
        let up = font_size * (place.m12 + place.m22);
        let size = (across * up).abs().sqrt();
        if let (true, Some((end, height))) = (self.begins, self.last) {
            let gap = (x - end) / size;
            if (y - height).abs() > LINE * size || gap < -1.0 {
                self.text.push('\n');
            } else if gap > CELL {
                self.text.push('\t');
            } else if gap > WORD {
                self.text.push(' ');
            }
        }
        self.text.push_str(character);
        self.last = Some((x + width * size, y));
        self.begins = false;
        Ok(())
    }

    fn begin_word(&mut self) -> Result<(), OutputError> {
        self.begins = true;
        Ok(())
    }

    fn end_word(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), OutputError> {
        Ok(())
    }
}
