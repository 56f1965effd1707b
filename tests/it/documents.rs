//! Documents as analysts have them: PDF, Office files, mails, tar; and those made to harm.

use std::{fmt::Write as _, io::Write as _};

use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

use crate::support::{Admin, Answer, TestApp, stories, text};

stories!(
    documents_are_read,
    a_document_that_cannot_be_read_says_why,
    hostile_documents_harm_nobody,
);

struct Desk {
    admin: Admin,
    source: String,
}

impl Desk {
    fn open(app: &TestApp) -> Self {
        let admin = app.admin();
        let source = json!({ "name": "Documents", "confidence": 3 });
        let source = text(&admin.post("/api/v1/sources", source, 201), "id");
        Self { admin, source }
    }

    fn send(&self, body: &[u8]) -> Answer {
        let path = format!("/api/v1/sources/{}/iocs", self.source);
        let kind = [("content-type", "application/octet-stream")];
        self.admin.send("POST", &path, &kind, Some(body))
    }

    fn import(&self, body: &[u8]) -> Value {
        let answer = self.send(body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    fn is_there(&self, value: &str) -> bool {
        let found = self.admin.get(&format!("/api/v1/iocs?value={value}"));
        !found["items"].as_array().unwrap().is_empty()
    }
}

pub(crate) fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        archive.start_file(*name, SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A PDF with a page for each text.
pub(crate) fn pdf(pages: &[&[&str]]) -> Vec<u8> {
    let mut objects = vec![
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        format!(
            "<</Type/Pages/Count {}/Kids[{}]>>",
            pages.len(),
            (0..pages.len()).map(|i| format!("{} 0 R ", 4 + 2 * i)).collect::<String>()
        ),
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>".to_owned(),
    ];
    for (at, lines) in pages.iter().enumerate() {
        let mut shown = "BT /F1 11 Tf 40 780 Td 14 TL\n".to_owned();
        for line in *lines {
            let line = line.replace('\\', "\\\\").replace('(', "\\(").replace(')', "\\)");
            writeln!(shown, "({line}) Tj T*").unwrap();
        }
        shown += "ET";
        objects.push(format!(
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</Font<</F1 3 0 R>>>>/Contents {} 0 R>>",
            5 + 2 * at
        ));
        objects.push(format!("<</Length {}>>\nstream\n{shown}\nendstream", shown.len()));
    }
    let mut out = "%PDF-1.4\n".to_owned();
    let mut places = Vec::new();
    for (at, object) in objects.iter().enumerate() {
        places.push(out.len());
        write!(out, "{} 0 obj\n{object}\nendobj\n", at + 1).unwrap();
    }
    let table = out.len();
    write!(out, "xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).unwrap();
    for place in &places {
        writeln!(out, "{place:010} 00000 n ").unwrap();
    }
    write!(out, "trailer\n<</Size {}/Root 1 0 R>>\nstartxref\n{table}\n%%EOF\n", objects.len() + 1)
        .unwrap();
    out.into_bytes()
}

fn docx(body: &str) -> Vec<u8> {
    let document = format!(
        "<?xml version=\"1.0\"?><w:document xmlns:w=\"w\"><w:body>{body}</w:body></w:document>"
    );
    zip(&[("[Content_Types].xml", b"<Types/>"), ("word/document.xml", document.as_bytes())])
}

fn paragraph(text: &str) -> String {
    format!("<w:p><w:r><w:t>{text}</w:t></w:r></w:p>")
}

fn xlsx(rows: &[&[&str]]) -> Vec<u8> {
    let mut sheet = String::new();
    for (r, row) in rows.iter().enumerate() {
        write!(sheet, "<row r=\"{}\">", r + 1).unwrap();
        for (c, cell) in row.iter().enumerate() {
            let column = char::from(b'A' + u8::try_from(c).unwrap());
            write!(sheet, "<c r=\"{column}{}\" t=\"inlineStr\"><is><t>{cell}</t></is></c>", r + 1)
                .unwrap();
        }
        sheet += "</row>";
    }
    sheet_file(&sheet)
}

fn sheet_file(rows: &str) -> Vec<u8> {
    const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    const OFFICE: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006/relationships";
    let book = format!(
        "<workbook xmlns=\"{MAIN}\" xmlns:r=\"{OFFICE}\"><sheets><sheet name=\"One\" sheetId=\"1\" r:id=\"rId1\"/></sheets></workbook>"
    );
    let links = format!(
        "<Relationships xmlns=\"{PACKAGE}\"><Relationship Id=\"rId1\" Type=\"{OFFICE}/worksheet\" Target=\"worksheets/sheet1.xml\"/></Relationships>"
    );
    let sheet = format!("<worksheet xmlns=\"{MAIN}\"><sheetData>{rows}</sheetData></worksheet>");
    let begin = format!(
        "<Relationships xmlns=\"{PACKAGE}\"><Relationship Id=\"rId1\" Type=\"{OFFICE}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"
    );
    zip(&[
        ("[Content_Types].xml", b"<Types/>"),
        ("_rels/.rels", begin.as_bytes()),
        ("xl/workbook.xml", book.as_bytes()),
        ("xl/_rels/workbook.xml.rels", links.as_bytes()),
        ("xl/worksheets/sheet1.xml", sheet.as_bytes()),
    ])
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files {
        let mut head = [0_u8; 512];
        let mut put =
            |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, "0000644\0");
        put(124, &format!("{:011o}\0", bytes.len()));
        put(136, "00000000000\0");
        put(148, "        ");
        put(156, "0");
        put(257, "ustar\x0000");
        let sum: u32 = head.iter().map(|b| u32::from(*b)).sum();
        let sum = format!("{sum:06o}\0 ");
        head[148..156].copy_from_slice(sum.as_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1_024, 0);
    out
}

const MAIL: &str = "Received: from mx.example by mail.example\r\nMessage-ID: <1@mx.example>\r\nMIME-Version: 1.0\r\nSubject: seen today\r\nContent-Type: multipart/mixed; boundary=\"part\"\r\n\r\n--part\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nThe page was hxxps://evil-mail[.]com/log=\r\nin, see https://blog.example.com/x.\r\n--part\r\nContent-Type: text/csv; name=\"iocs.csv\"\r\nContent-Disposition: attachment; filename=\"iocs.csv\"\r\nContent-Transfer-Encoding: base64\r\n\r\ndmFsdWUsdHlwZQpldmlsLWF0dGFjaC5jb20sZG9tYWluCg==\r\n--part--\r\n";

fn forms(report: &Value) -> Vec<String> {
    let all = report["read_as"].as_array().unwrap();
    all.iter().map(|one| text(one, "name")).collect()
}

fn documents_are_read(app: &mut TestApp) {
    let desk = Desk::open(app);
    let hash = "3f786850e387550fdab836ed7e6dc881de23001b0f0e3d7e3d6a1c2b4f5e6a7b";
    let report = desk.import(&pdf(&[
        &["The group used evil-pdf[.]com and the file", &hash[..50], &hash[50..]],
        &["On the second page: hxxp://evil-page[.]net/a.exe"],
    ]));
    assert_eq!(forms(&report), ["a report from a PDF"], "{report}");
    for value in ["evil-pdf.com", hash, "http://evil-page.net/a.exe"] {
        assert!(desk.is_there(value), "{value}: {report}");
    }
    let cell = |text: &str| format!("<w:tc>{}</w:tc>", paragraph(text));
    let table =
        format!("<w:tbl><w:tr>{}{}</w:tr></w:tbl>", cell("Domain"), cell("evil-cell[.]com"));
    let report = desk.import(&docx(&format!(
        "{}{}{table}",
        paragraph("It spoke to evil-docx[.]com &amp; others."),
        "<w:p><w:del><w:r><w:delText>deleted[.]example</w:delText></w:r></w:del></w:p>"
    )));
    assert_eq!(forms(&report), ["a report from a text document"]);
    assert!(desk.is_there("evil-docx.com") && desk.is_there("evil-cell.com"), "{report}");
    assert!(!desk.is_there("deleted.example"), "{report}");
    let report = desk.import(&xlsx(&[
        &["Indicator", "Type", "Severity"],
        &["evil-sheet.com", "Domain", "High"],
        &["203.0.113.77", "IP", "Low"],
    ]));
    assert_eq!(
        (&report["accepted"], forms(&report)),
        (&json!(2), vec!["a table from a spreadsheet".to_owned()])
    );
    let found = desk.admin.get("/api/v1/iocs?value=evil-sheet.com");
    assert_eq!(found["items"][0]["severity"], "high");
    // A mail: its text, and what is attached.
    let report = desk.import(MAIL.as_bytes());
    assert_eq!(forms(&report), ["a report from a mail", "a table from a mail"]);
    assert!(desk.is_there("https://evil-mail.com/login") && desk.is_there("evil-attach.com"));
    assert!(!desk.is_there("https://blog.example.com/x"), "a live link is a reference");
    // In an archive, each file is what it is.
    let report = desk.import(&tar(&[
        ("list.txt", b"evil-tar.com\n"),
        ("papers/a.pdf", &pdf(&[&["See evil-inner[.]com there."]])),
    ]));
    assert_eq!(report["accepted"], 2, "{report}");
    assert_eq!(report["read_as"][1]["file"], "papers/a.pdf");
    assert_eq!(report["read_as"][1]["document"], "pdf");
}

fn a_document_that_cannot_be_read_says_why(app: &mut TestApp) {
    let desk = Desk::open(app);
    // It names a password that nobody has.
    let locked = String::from_utf8(pdf(&[&["See evil-locked[.]com."]])).unwrap();
    let locked = locked.replace("/Root 1 0 R>>", "/Root 1 0 R/Encrypt 2 0 R/ID[<00><00>]>>");
    for (body, why) in [
        (pdf(&[&[]]), "pictures and no text"),
        (b"%PDF-1.7 nonsense".to_vec(), "it is broken"),
        (zip(&[("word/document.xml", b"<w:document><w:p></w:document>")]), "broken"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1nonsense".to_vec(), "save it as XLSX"),
        (sheet_file("<row r=\"1\"><c r=\"A1\"><v>"), "can't be read"),
    ] {
        let answer = desk.send(&body);
        let said = answer.text();
        assert_eq!(answer.status, 400, "{why}: {said}");
        assert!(said.contains(why), "{why}: {said}");
    }
    let locked = desk.send(locked.as_bytes());
    assert_eq!(locked.status, 400, "{}", locked.text());
    assert!(locked.text().contains("The PDF can't be read"), "{}", locked.text());
    // In an archive, one that can't be read costs itself alone.
    let report = desk.import(&zip(&[("a.txt", b"evil-a.com\n"), ("b.pdf", b"%PDF-1.4\nnonsense")]));
    assert_eq!(report["accepted"], 1);
    let refused = &report["rejected"][0];
    assert_eq!(refused["value"], "b.pdf");
    assert!(text(refused, "reason").contains("The PDF can't be read"), "{refused}");
}

fn hostile_documents_harm_nobody(app: &mut TestApp) {
    let desk = Desk::open(app);
    let deep = format!("{}{}", "<w:p>".repeat(200_000), "</w:p>".repeat(200_000));
    let bomb = vec![b' '; 100 << 20];
    let far = "<row r=\"1048576\"><c r=\"XFD1048576\" t=\"inlineStr\"><is><t>evil-far.com</t></is></c></row>";
    // A tree of pages that is its own child, and objects that lead to each other.
    let knot = b"%PDF-1.4\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n2 0 obj\n<</Type/Pages/Count 9/Kids[2 0 R 3 0 R]>>\nendobj\n3 0 obj\n4 0 R\nendobj\n4 0 obj\n3 0 R\nendobj\nxref\n0 5\n0000000000 65535 f \n0000000009 00000 n \n0000000056 00000 n \n0000000113 00000 n \n0000000135 00000 n \ntrailer\n<</Size 5/Root 1 0 R>>\nstartxref\n157\n%%EOF\n";
    let arrays =
        format!("%PDF-1.4\n1 0 obj\n{}\nendobj\ntrailer\n<</Root 1 0 R>>\n", "[".repeat(2_000_000));
    let parts = format!(
        "Received: a\r\nMessage-ID: <1@a>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{}",
        "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n".repeat(100_000)
    );
    for (what, body) in [
        ("deep XML", docx(&deep)),
        ("a bomb in a document", zip(&[("word/document.xml", &bomb)])),
        ("a cell far out", sheet_file(far)),
        ("a knot of pages", knot.to_vec()),
        ("nested arrays", arrays.into_bytes()),
        ("nested parts", parts.into_bytes()),
        ("a tar that claims much", tar(&[("a", b"x")])[..600].to_vec()),
    ] {
        let answer = desk.send(&body);
        assert!(matches!(answer.status, 200 | 400), "{what}: {} {}", answer.status, answer.text());
        assert_eq!(desk.import(b"evil-after.com\n")["rejected_count"], 0, "after {what}");
    }
    let left: Vec<_> = std::fs::read_dir(app.data_folder().join("spool")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
