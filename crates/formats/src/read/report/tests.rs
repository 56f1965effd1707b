use super::super::Input;
use super::super::tests::values;

#[test]
fn indicators_in_prose_tables_and_code() {
    let text = "The post is at https://www.blog.example.com/2020/x.pdf. See link:event.json[`event.json`].\n\
        |`+nododru[.]ru+` |`+N/A+` |2023-12-20\n| `38.180.76[.]31` | `recsecas[.]com` (first)\n\
        Run setup.py, read readme.md; mail to team.x@outlook[.]com or (evil-site.com).\n\
        ----\nserver-{1,30}[.]ostdownload.xyz\nhttp://45.9.239[.]50/a.msi\nplain-domain.space\nhttp://live.evil-site.com/x\n----\n\
        hash `DA39A3EE5E6B4B0D3255BFEF95601890AFD80709` time 10:11:12, JS/Agent.SVE Win32/Filecoder.B\n\
        https://gitlab[.]com/a/b/README.md and c2-[a-z]{3}\\.evil\\.com\n5[.]101.6.132 hxxps://bad[.]example[.]com/p(1)\n";
    let (found, rejected) = values(Input::Report, text);
    assert_eq!(
        found,
        [
            "domain nododru.ru",
            "ipv4 38.180.76.31",
            "domain recsecas.com",
            "email team.x@outlook.com",
            "domain evil-site.com",
            "url http://45.9.239.50/a.msi",
            "domain plain-domain.space",
            "url http://live.evil-site.com/x",
            "sha1 da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "url https://gitlab.com/a/b/README.md",
            "ipv4 5.101.6.132",
            "url https://bad.example.com/p(1)",
        ]
    );
    assert_eq!(
        rejected.iter().map(|r| (r.line, r.value.as_str())).collect::<Vec<_>>(),
        [
            (1, "https://www.blog.example.com/2020/x.pdf"),
            (6, "server-{1,30}[.]ostdownload.xyz"),
            (12, "c2-[a-z]{3}\\.evil\\.com"),
        ]
    );
}

#[test]
fn nothing_is_lost_in_mark_up() {
    let text = "**evil-a.com** [evil-b.com] {evil-c.com} SHA1=DA39A3EE5E6B4B0D3255BFEF95601890AFD80709 ip=5.6.7.8 domain: evil-d.com\n\
        url=hxxp://evil-e[.]org/a,b md5:d41d8cd98f00b204e9800998ecf8427e evil-site.cc c2.evil-f.cc `panel.badguys.app` uses ASP.NET and user.name\n\
        45.9.239.50:443/a evil-g.com/path 1.1.1.1-1.1.1.9 JS/Agent.A and/or\n\
        *.evil-h.com *[.]evil-i[.]com evil-j[.]example x@evil-k[.]lan *evil-l.com* plain.example\n";
    let (found, rejected) = values(Input::Report, text);
    assert_eq!(
        found,
        [
            "domain evil-a.com",
            "domain evil-b.com",
            "domain evil-c.com",
            "sha1 da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "ipv4 5.6.7.8",
            "domain evil-d.com",
            "url http://evil-e.org/a,b",
            "md5 d41d8cd98f00b204e9800998ecf8427e",
            "domain evil-site.cc",
            "domain c2.evil-f.cc",
            "domain panel.badguys.app",
            "domain evil-j.example",
            "domain evil-l.com",
        ]
    );
    assert_eq!(
        rejected.iter().map(|r| r.value.as_str()).collect::<Vec<_>>(),
        [
            "45.9.239.50:443/a",
            "evil-g.com/path",
            "1.1.1.1-1.1.1.9",
            "*.evil-h.com",
            "*[.]evil-i[.]com",
            "x@evil-k[.]lan"
        ]
    );
}

#[test]
fn what_surrounds_an_indicator_is_no_part_of_it() {
    let text = "* ++http://bj.evil-a[.]com/zz1.php++\n`+http://evil-b[.]com+` (`~hxxp://evil-c.com/x~`)\n\
        |\\bad.1977@evil-d.com\nC:\\Windows\\NGEN.cab Framework\\NGEN.cab HSBC.pdf.zip Textures.exe.zip\n\
        The list is on WeLiveSecurity at\n";
    let (found, rejected) = values(Input::Report, text);
    assert_eq!(
        found,
        [
            "url http://bj.evil-a.com/zz1.php",
            "url http://evil-b.com",
            "url http://evil-c.com/x",
            "email bad.1977@evil-d.com",
        ]
    );
    assert!(rejected.is_empty(), "{rejected:?}");
}

#[test]
fn victims_certificates_and_references_are_no_indicators() {
    let text = "== Indicators\nThumbprint: 4d7af6c1c1e5e5d1f7a1a1d8c8a9b0a1c2d3e4f5\n\
        4d7af6c1c1e5e5d1f7a1a1d8c8a9b0a1c2d3e4f6\n==== myservice.evil-a.com, uk.evil-b.com\n\
        === IOCs\nThe whole analysis is available on our site at\nhttps://www.blog-evil.com/x\nhttp://evil-c.com/y\n";
    let (found, rejected) = values(Input::Report, text);
    assert_eq!(found, ["sha1 4d7af6c1c1e5e5d1f7a1a1d8c8a9b0a1c2d3e4f6", "url http://evil-c.com/y"]);
    assert_eq!(rejected.iter().map(|r| r.line).collect::<Vec<_>>(), [2, 4, 4, 7], "{rejected:?}");
}
