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
