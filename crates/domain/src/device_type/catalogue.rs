//! Every device type iocast knows. Those marked `original` are Threat Command's, with its kinds and
//! limits; the others are ours.

use super::{
    ANYTHING, Delivery, DeviceType, Format, Grammar, GroupKind, Location, Method, SetupField,
};
use crate::ioc::Kind;

const fn field(label: &'static str, value: &'static str) -> SetupField {
    SetupField { label, value }
}

const ADDRESSES: &[Kind] = &[Kind::Ipv4, Kind::Ipv6];
const DOMAINS: &[Kind] = &[Kind::Domain];
const NETWORK_KINDS: &[Kind] = &[Kind::Domain, Kind::Ipv4, Kind::Ipv6, Kind::Url];
const WITHOUT_URLS: &[Kind] =
    &[Kind::Domain, Kind::Ipv4, Kind::Ipv6, Kind::Md5, Kind::Sha1, Kind::Sha256];
const WITHOUT_EMAIL: &[Kind] =
    &[Kind::Domain, Kind::Url, Kind::Ipv4, Kind::Ipv6, Kind::Md5, Kind::Sha1, Kind::Sha256];
const DOMAIN_IP_URL: &[GroupKind] = &[GroupKind::Domain, GroupKind::Ip, GroupKind::Url];
const IP_DOMAIN_URL: &[GroupKind] = &[GroupKind::Ip, GroupKind::Domain, GroupKind::Url];

/// PAN-OS: at most 255 characters an entry, of which a scheme that is taken off and a slash that is
/// put on change little.
const PANOS: Grammar = Grammar { longest: 255, wildcards: true, careful_urls: true, ..ANYTHING };
const LINES: Grammar = Grammar { longest: 2_048, careful_urls: true, ..ANYTHING };
const SINGLE_ADDRESSES: Grammar = Grammar { networks: false, ..LINES };

const CHECKS: &[&str] = &[
    "Is the list or feed switched on in the device, and what does its own log say of the last fetch?",
    "Is the user the account ID, and the password an appliance or device key that still works? The pull log says why one was refused.",
    "Does the device reach iocast (DNS, proxy, firewall, certificate)? Try from its network: curl -u ACCOUNT_ID:KEY GROUP_URL",
];
const MISP_CHECKS: &[&str] = &[
    "In MISP, Sync Actions > Feeds: is this feed enabled, and what does its last fetch say under Administration > Jobs?",
    "Does something fetch it at all? MISP fetches feeds when asked: by a scheduled task, or `cake Server fetchFeed` in cron.",
    "Are MISP's workers running (Administration > Server Settings & Maintenance > Workers, queue `default`)?",
    "Was Add basic auth header clicked? The Headers field of the feed begins with Authorization: Basic then.",
    "Is the feed's user the account ID, and its password an appliance or device key that still works? The pull log says why one was refused.",
    "Does MISP's host reach iocast (DNS, proxy, firewall, certificate)? Try there: curl -u ACCOUNT_ID:KEY GROUP_URL/manifest.json",
];
const TAXII_CHECKS: &[&str] = &[
    "Does the client's own log or connector page tell of its last poll of this collection?",
    "Was the API root pasted with its slash at the end, and the collection's id as it stands here?",
    "Is the user the account ID, and the password an appliance or device key that still works? The pull log says why one was refused.",
    "Does the client reach iocast (DNS, proxy, firewall, certificate)? Clouds poll from addresses of their own, which your firewall must let in.",
];

/// A pull type of ours in the cloud tab: what most entries have in common.
const OURS: DeviceType = DeviceType {
    id: "",
    name: "",
    method: Method::Pull,
    unsupported: None,
    location: Location::Cloud,
    kinds: &[],
    group_kinds: &[],
    grammar: LINES,
    max_iocs: 0,
    format: Format::PlainList,
    delivery: Delivery::Full,
    original: false,
    setup: &[],
    checks: CHECKS,
};
const ORIGINAL: DeviceType = DeviceType { original: true, ..OURS };

const PANOS_SETUP: &[SetupField] = &[
    field("Objects > External Dynamic Lists > Add: Name", "{name}"),
    field("Type", "IP List, Domain List or URL List, as the group's kind"),
    field("Source", "{url}"),
    field("Certificate Profile", "one that holds the issuer of iocast's certificate (HTTPS)"),
    field("Client Authentication: Username", "{account_id}"),
    field("Client Authentication: Password", "{key}"),
    field("Check for updates", "Every five minutes"),
    field("or, on the command line", "set external-list {list} type {kind} recurring five-minute"),
    field("", "set external-list {list} type {kind} url {url}"),
    field("", "set external-list {list} type {kind} auth username {account_id} password {key}"),
];
const FORTIGATE_SETUP: &[SetupField] = &[
    field(
        "Security Fabric > External Connectors > Create New",
        "IP Address, Domain Name or Malware Hash, as the group's kind",
    ),
    field("Name", "{name}"),
    field("URI of external resource", "{url}"),
    field("HTTP basic authentication: Username", "{account_id}"),
    field("HTTP basic authentication: Password", "{key}"),
    field("Refresh Rate", "5 minutes"),
    field("or, on the command line", "config system external-resource"),
    field("", "edit {list}"),
    field("", "set type {fortinet_kind}"),
    field("", "set resource \"{url}\""),
    field("", "set username \"{account_id}\""),
    field("", "set password {key}"),
    field("", "set refresh-rate 5"),
    field("", "end"),
];
const FORTISIEM_SETUP: &[SetupField] = &[
    field("Resources > Malware IPs, Domains, URLs or Hashes > + > More > Update", "Update via API"),
    field("URL", "{url}"),
    field("User Name", "{account_id}"),
    field("Password", "{key}"),
    field("Plugin class", "the default one"),
    field("Field separator", ","),
    field("Data format", "CSV"),
    field("Data update", "Full"),
];
const SPLUNK_CSV_SETUP: &[SetupField] = &[
    field(
        "Configure > Data Enrichment > Threat Intelligence Management > Sources > New",
        "Line Oriented",
    ),
    field("Name", "{list}"),
    field("Type", "iocast"),
    field("URL", "{url}"),
    field("Weight", "60"),
    field("Interval", "3600"),
    field("Stanza user / Credential Management: Username", "{account_id}"),
    field("Credential Management: Password", "{key}"),
    field("Parsing: Delimiting regular expression", ","),
    field("Parsing: Ignoring regular expression", "^description,"),
];
const TAXII_SETUP: &[SetupField] = &[
    field("Name", "{name}"),
    field("Discovery URL", "{discovery}"),
    field("API root URL", "{root}"),
    field("Collection ID", "{collection}"),
    field("Username", "{account_id}"),
    field("Password", "{key}"),
    field("Polling", "hourly or more often"),
    field("For clients that read no TAXII: STIX bundle", "{url}/stix.json"),
];
const SPLUNK_TAXII_SETUP: &[SetupField] = &[
    field(
        "Configure > Data Enrichment > Threat Intelligence Management > Sources > New",
        "TAXII (2.1, Splunk ES 8.2 or later)",
    ),
    field("Name", "{list}"),
    field("API root URL", "{root}"),
    field("Collection ID", "{collection}"),
    field("Username", "{account_id}"),
    field("Password", "{key}"),
    field("Interval", "3600"),
];
const CARBON_BLACK_SETUP: &[SetupField] = &[
    field(
        "Threat Intelligence > Threat Intelligence Feeds > Add New Feed > Add from URL: Feed URL",
        "{url}",
    ),
    field("Use Username and Password: Username", "{account_id}"),
    field("Use Username and Password: Password", "{key}"),
    field("Pull the feed without proxy", "as your network needs it"),
];

const SPLUNK_CSV: DeviceType = DeviceType {
    id: "splunk-es",
    name: "Splunk Enterprise Security (CSV)",
    kinds: NETWORK_KINDS,
    group_kinds: DOMAIN_IP_URL,
    max_iocs: 500_000,
    format: Format::SplunkCsv,
    setup: SPLUNK_CSV_SETUP,
    ..ORIGINAL
};
const SPLUNK_TAXII: DeviceType = DeviceType {
    id: "splunk-es-taxii",
    name: "Splunk Enterprise Security (TAXII)",
    kinds: NETWORK_KINDS,
    group_kinds: DOMAIN_IP_URL,
    grammar: ANYTHING,
    max_iocs: 40_000,
    format: Format::Taxii21,
    delivery: Delivery::NewOnly,
    setup: SPLUNK_TAXII_SETUP,
    checks: TAXII_CHECKS,
    ..ORIGINAL
};
const PANORAMA: DeviceType = DeviceType {
    id: "panorama",
    name: "Palo Alto Networks Panorama",
    kinds: NETWORK_KINDS,
    group_kinds: DOMAIN_IP_URL,
    grammar: PANOS,
    max_iocs: 250_000,
    format: Format::PanosEdl,
    setup: PANOS_SETUP,
    ..ORIGINAL
};
const FORTIGATE: DeviceType = DeviceType {
    id: "fortigate",
    name: "Fortinet FortiGate",
    kinds: WITHOUT_URLS,
    group_kinds: &[GroupKind::Domain, GroupKind::Ip, GroupKind::Hash],
    max_iocs: 100_000,
    delivery: Delivery::NewOnly,
    setup: FORTIGATE_SETUP,
    ..ORIGINAL
};
const FORTISIEM: DeviceType = DeviceType {
    id: "fortisiem",
    name: "Fortinet FortiSIEM",
    kinds: WITHOUT_EMAIL,
    group_kinds: &[GroupKind::Domain, GroupKind::Ip, GroupKind::Url, GroupKind::Hash],
    max_iocs: 300_000,
    setup: FORTISIEM_SETUP,
    ..ORIGINAL
};
const CARBON_BLACK: DeviceType = DeviceType {
    id: "carbon-black-response",
    name: "Carbon Black Response",
    kinds: &[Kind::Domain, Kind::Ipv4, Kind::Ipv6, Kind::Md5],
    // Its feeds match single addresses.
    grammar: Grammar { networks: false, ..ANYTHING },
    max_iocs: 50_000,
    format: Format::CarbonBlackFeed,
    setup: CARBON_BLACK_SETUP,
    ..ORIGINAL
};

/// Every device type iocast knows, in the order in which it is offered.
pub const CATALOGUE: &[DeviceType] = &[
    DeviceType {
        id: "misp",
        name: "MISP",
        kinds: Kind::ALL,
        grammar: ANYTHING,
        max_iocs: 50_000,
        format: Format::MispFeed,
        delivery: Delivery::NewOnly,
        setup: &[
            field("Enabled", "yes"),
            field("Caching enabled", "yes"),
            field("Name", "{name}"),
            field("Provider", "iocast"),
            field("Input Source", "Network"),
            field("URL", "{url}"),
            field("Source Format", "MISP Feed"),
            field("Add Basic Auth: username", "{account_id}"),
            field("Add Basic Auth: password", "{key}"),
            field("then", "click Add basic auth header: without that click MISP sends no password"),
            field("Distribution", "Your organisation only"),
            field("then, in List Feeds", "Fetch all events"),
        ],
        checks: MISP_CHECKS,
        ..ORIGINAL
    },
    PANORAMA,
    FORTIGATE,
    FORTISIEM,
    DeviceType {
        id: "firepower",
        name: "Cisco Firepower (Threat Intelligence Director)",
        kinds: &[Kind::Sha256],
        group_kinds: &[GroupKind::Sha256],
        // The original states no limit.
        max_iocs: 100_000,
        setup: &[
            field("Intelligence > Sources > Add Source: Delivery", "URL"),
            field("Type", "Flat File"),
            field("Content", "SHA-256"),
            field("URL", "{url}?key={key}"),
            field("Name", "{name}"),
            field("Update Every", "30 minutes"),
            field("Action", "Monitor or Block"),
        ],
        ..ORIGINAL
    },
    SPLUNK_CSV,
    SPLUNK_TAXII,
    CARBON_BLACK,
    DeviceType {
        id: "azure-sentinel",
        name: "Microsoft Azure Sentinel (TAXII 2.0)",
        kinds: Kind::ALL,
        grammar: ANYTHING,
        // The original states no limit.
        max_iocs: 50_000,
        format: Format::Taxii20,
        setup: &[
            field(
                "Data connectors > Threat intelligence - TAXII > Friendly name (for server)",
                "{name}",
            ),
            field("API root URL", "{root}"),
            field("Collection ID", "{collection}"),
            field("Username", "{account_id}"),
            field("Password", "{key}"),
            field("Import indicators", "All available"),
            field("Polling frequency", "Once an hour"),
        ],
        checks: TAXII_CHECKS,
        ..ORIGINAL
    },
    DeviceType {
        id: "crowdstrike-falcon",
        name: "CrowdStrike Falcon Insight",
        method: Method::Push,
        unsupported: Some(
            "CrowdStrike takes IOCs only through its own API, and iocast does not push to outside services. Let a script pull a group and hand it on.",
        ),
        kinds: &[Kind::Domain, Kind::Ipv4, Kind::Ipv6, Kind::Md5, Kind::Sha256],
        format: Format::VendorApi,
        ..ORIGINAL
    },
    DeviceType {
        id: "office-365",
        name: "Microsoft Office 365",
        method: Method::Push,
        unsupported: Some(
            "Office 365 takes IOCs only through an Azure application, and iocast does not push to outside services. Let a script pull a group and hand it on.",
        ),
        kinds: &[Kind::Domain, Kind::Email],
        max_iocs: 1_000,
        format: Format::VendorApi,
        ..ORIGINAL
    },
    DeviceType { id: "panorama-on-premises", location: Location::OnPremises, ..PANORAMA },
    DeviceType { id: "fortigate-on-premises", location: Location::OnPremises, ..FORTIGATE },
    DeviceType { id: "fortisiem-on-premises", location: Location::OnPremises, ..FORTISIEM },
    DeviceType {
        id: "fortimanager",
        name: "Fortinet FortiManager",
        method: Method::Push,
        unsupported: Some(
            "FortiManager takes IOCs only through its own API, and iocast does not push to outside services. Add its FortiGates as devices that poll.",
        ),
        location: Location::OnPremises,
        kinds: NETWORK_KINDS,
        max_iocs: 300_000,
        format: Format::VendorApi,
        delivery: Delivery::NewOnly,
        ..ORIGINAL
    },
    DeviceType { id: "splunk-es-on-premises", location: Location::OnPremises, ..SPLUNK_CSV },
    DeviceType {
        id: "splunk-es-taxii-on-premises",
        location: Location::OnPremises,
        ..SPLUNK_TAXII
    },
    DeviceType {
        id: "arcsight",
        name: "ArcSight REST FlexConnector",
        location: Location::OnPremises,
        kinds: &[Kind::Domain, Kind::Md5, Kind::Ipv4, Kind::Ipv6, Kind::Url],
        grammar: ANYTHING,
        max_iocs: 300_000,
        format: Format::ArcsightEvents,
        delivery: Delivery::NewOnly,
        setup: &[
            field("Connector Type", "ArcSight FlexConnector REST"),
            field("Configuration File", "{list}"),
            field("Events URL", "{url}?after=$START_AT_TIME"),
            field("Authentication Type", "Basic"),
            field("User Name", "{account_id}"),
            field("Password", "{key}"),
            field("Parser: events in", "events"),
            field("Parser: token for the next poll", "next"),
        ],
        ..ORIGINAL
    },
    DeviceType {
        id: "carbon-black-response-on-premises",
        location: Location::OnPremises,
        ..CARBON_BLACK
    },
    DeviceType {
        id: "taxii",
        name: "TAXII 2.1 client",
        kinds: Kind::ALL,
        grammar: ANYTHING,
        max_iocs: 500_000,
        format: Format::Taxii21,
        delivery: Delivery::NewOnly,
        setup: TAXII_SETUP,
        checks: TAXII_CHECKS,
        ..OURS
    },
    DeviceType {
        id: "stix-bundle",
        name: "STIX 2.1 bundle (FortiGate stix://, scripts)",
        kinds: Kind::ALL,
        grammar: ANYTHING,
        max_iocs: 300_000,
        format: Format::StixBundle,
        setup: &[
            field("URL of the bundle", "{url}"),
            field("Username", "{account_id}"),
            field("Password", "{key}"),
            field("in a FortiGate", "config system external-resource"),
            field("", "edit {list}"),
            field("", "set type address"),
            field("", "set resource \"stix://{host}{path}\""),
            field("", "set username \"{account_id}\""),
            field("", "set password {key}"),
            field("", "end"),
        ],
        ..OURS
    },
    DeviceType {
        id: "panos-edl",
        name: "Palo Alto Networks PAN-OS (external dynamic list)",
        kinds: NETWORK_KINDS,
        group_kinds: IP_DOMAIN_URL,
        grammar: PANOS,
        max_iocs: 150_000,
        format: Format::PanosEdl,
        setup: PANOS_SETUP,
        ..OURS
    },
    DeviceType {
        id: "check-point",
        name: "Check Point (external IoC feed)",
        kinds: &[
            Kind::Url,
            Kind::Domain,
            Kind::Ipv4,
            Kind::Md5,
            Kind::Sha1,
            Kind::Sha256,
            Kind::Email,
        ],
        // Its IP type is one address.
        grammar: SINGLE_ADDRESSES,
        max_iocs: 1_000_000,
        format: Format::CheckPointCsv,
        setup: &[
            field(
                "SmartConsole > Threat Prevention > Custom Policy Tools > Indicators > New > Indicators > IoC feed: Name",
                "{list}",
            ),
            field("Feed URL", "{url}"),
            field("Action", "Prevent"),
            field("Format", "Check Point format"),
            field("Authentication: User name", "{account_id}"),
            field("Authentication: Password", "{key}"),
            field(
                "or, on the gateway",
                "ioc_feeds add --feed_name {list} --transport http --resource \"{secret_url}\" --feed_action Prevent",
            ),
        ],
        ..OURS
    },
    DeviceType {
        id: "cisco-si",
        name: "Cisco Secure Firewall (security intelligence feed)",
        kinds: NETWORK_KINDS,
        group_kinds: IP_DOMAIN_URL,
        max_iocs: 500_000,
        format: Format::CiscoList,
        setup: &[
            field(
                "Objects > Security Intelligence > Network, DNS or URL Lists and Feeds > Add: Name",
                "{name}",
            ),
            field("Type", "Feed"),
            field("Feed URL", "{url}?key={key}"),
            field("MD5 URL", "{url}.md5?key={key}"),
            field("Update Frequency", "30 minutes"),
        ],
        ..OURS
    },
    DeviceType {
        id: "sophos",
        name: "Sophos Firewall (third-party threat feed)",
        kinds: &[Kind::Ipv4, Kind::Domain, Kind::Url],
        group_kinds: IP_DOMAIN_URL,
        // No networks, ranges or wildcards.
        grammar: Grammar { networks: false, wildcards: true, ..LINES },
        max_iocs: 100_000,
        format: Format::RequestedList,
        setup: &[
            field("Active threat response > Third-party threat feeds > Add: Name", "{name}"),
            field("Action", "Log and drop"),
            field("Indicator type", "IPv4 address, Domain or URL, as the group's kind"),
            field("External URL", "{url}"),
            field("Authorization type", "API key, in the header"),
            field("Key", "X-API-Key"),
            field("Value", "{key}"),
            field("Polling interval", "Every hour"),
        ],
        ..OURS
    },
    DeviceType {
        id: "sonicwall",
        name: "SonicWall (dynamic external address group)",
        kinds: &[Kind::Ipv4],
        group_kinds: &[GroupKind::Ip],
        max_iocs: 50_000,
        setup: &[
            field("Object > Match Objects > Dynamic Group > Add: Name", "{name}"),
            field("Type", "Address Group"),
            field("Enable Periodic Download, Download Interval", "15 minutes"),
            field("Protocol", "HTTPS"),
            field("URL Name", "{url}"),
            field("Login ID", "{account_id}"),
            field("Password", "{key}"),
        ],
        ..OURS
    },
    DeviceType {
        id: "f5-afm",
        name: "F5 BIG-IP AFM (feed list)",
        kinds: ADDRESSES,
        group_kinds: &[GroupKind::Ip],
        max_iocs: 500_000,
        format: Format::F5FeedList,
        setup: &[
            field(
                "Security > Network Firewall > IP Intelligence > Feed Lists > Create: Name",
                "{list}",
            ),
            field("Feed URLs: Name", "{list}"),
            field("Type", "http(s)"),
            field("URL", "{url}"),
            field("List Type", "Blacklist"),
            field("Blacklist Category", "additional"),
            field("Poll Interval", "300"),
            field("Username", "{account_id}"),
            field("Password", "{key}"),
        ],
        ..OURS
    },
    DeviceType {
        id: "juniper-srx",
        name: "Juniper SRX (dynamic address)",
        kinds: ADDRESSES,
        group_kinds: &[GroupKind::Ip],
        max_iocs: 100_000,
        setup: &[
            field(
                "Command line",
                "set security dynamic-address feed-server {list} url {secret_url}",
            ),
            field("", "set security dynamic-address feed-server {list} update-interval 300"),
            field("", "set security dynamic-address feed-server {list} feed-name {list} path /"),
            field("", "set security dynamic-address address-name {list} profile feed-name {list}"),
        ],
        ..OURS
    },
    DeviceType {
        id: "mikrotik",
        name: "MikroTik RouterOS (address list)",
        kinds: ADDRESSES,
        group_kinds: &[GroupKind::Ip],
        max_iocs: 100_000,
        format: Format::MikrotikScript,
        setup: &[
            field(
                "Terminal",
                "/system script add name={list} source=\"/tool fetch url=\\\"{url}\\\" user=\\\"{account_id}\\\" password=\\\"{key}\\\" dst-path={list}.rsc; /import {list}.rsc\"",
            ),
            field("", "/system scheduler add name={list} interval=15m on-event={list}"),
            field("", "/ip firewall raw add chain=prerouting src-address-list={list} action=drop"),
            field("for routers with little memory, in pages: URL", "{url}?s=0&n=15000"),
        ],
        ..OURS
    },
    DeviceType {
        id: "nftables",
        name: "Linux firewall (nftables)",
        kinds: ADDRESSES,
        group_kinds: &[GroupKind::Ip],
        max_iocs: 100_000,
        format: Format::Nftables,
        setup: &[
            field(
                "cron",
                "curl -fsS -u {account_id}:{key} {url} -o /var/lib/{list}.new && nft --check --file /var/lib/{list}.new && nft --file /var/lib/{list}.new && mv /var/lib/{list}.new /var/lib/{list}.nft",
            ),
            field(
                "/etc/nftables.conf, so that it holds after a restart",
                "include \"/var/lib/{list}.nft*\"",
            ),
        ],
        ..OURS
    },
    DeviceType {
        id: "pfsense",
        name: "pfSense (pfBlockerNG)",
        kinds: &[Kind::Ipv4, Kind::Ipv6, Kind::Domain],
        group_kinds: &[GroupKind::Ip, GroupKind::Domain],
        max_iocs: 500_000,
        setup: &[
            field("Firewall > pfBlockerNG > IP (or DNSBL) > Add: Name", "{list}"),
            field("Format", "Auto"),
            field("State", "ON"),
            field("Source", "{secret_url}"),
            field("Header/Label", "{list}"),
            field("Action", "Deny Both"),
            field("Update Frequency", "Every hour"),
        ],
        ..OURS
    },
    DeviceType {
        id: "opnsense",
        name: "OPNsense (URL table alias)",
        kinds: ADDRESSES,
        group_kinds: &[GroupKind::Ip],
        max_iocs: 500_000,
        setup: &[
            field("Firewall > Aliases > Add: Name", "{list}"),
            field("Type", "URL Table (IPs)"),
            field("Refresh Frequency", "0 days, 1 hour"),
            field("Content", "{url}"),
            field("Authorization", "Basic"),
            field("Username", "{account_id}"),
            field("Password", "{key}"),
        ],
        ..OURS
    },
    DeviceType {
        id: "squid",
        name: "Squid (dstdomain file)",
        kinds: DOMAINS,
        group_kinds: &[GroupKind::Domain],
        max_iocs: 500_000,
        format: Format::SquidDomains,
        setup: &[
            field(
                "cron",
                "curl -fsS -u {account_id}:{key} {url} -o /etc/squid/{list}.new && mv /etc/squid/{list}.new /etc/squid/{list} && squid -k reconfigure",
            ),
            field("squid.conf", "acl {list} dstdomain \"/etc/squid/{list}\""),
            field("", "http_access deny {list}"),
        ],
        ..OURS
    },
    DeviceType {
        id: "rpz",
        name: "DNS response policy zone (BIND, Unbound, Knot, PowerDNS)",
        kinds: &[Kind::Domain, Kind::Ipv4, Kind::Ipv6],
        // A name in the zone has a suffix of its own behind it.
        grammar: Grammar { longest: 240, ..LINES },
        max_iocs: 500_000,
        format: Format::Rpz,
        setup: &[
            field(
                "cron",
                "curl -fsS -u {account_id}:{key} {url} -o /var/cache/bind/{list}.new && mv /var/cache/bind/{list}.new /var/cache/bind/{list}.zone && rndc reload rpz.iocast",
            ),
            field(
                "named.conf, options",
                "response-policy { zone \"rpz.iocast\"; } qname-wait-recurse no;",
            ),
            field(
                "named.conf",
                "zone \"rpz.iocast\" { type primary; file \"/var/cache/bind/{list}.zone\"; allow-query { none; }; };",
            ),
        ],
        ..OURS
    },
    DeviceType {
        id: "hosts",
        name: "hosts file (Pi-hole, AdGuard Home)",
        kinds: DOMAINS,
        group_kinds: &[GroupKind::Domain],
        max_iocs: 500_000,
        format: Format::Hosts,
        setup: &[
            field(
                "Pi-hole > Lists > Add blocklist, or AdGuard Home > Filters > DNS blocklists > Add: URL",
                "{secret_url}",
            ),
            field("Comment or name", "{name}"),
        ],
        ..OURS
    },
    DeviceType {
        id: "dnsmasq",
        name: "dnsmasq",
        kinds: DOMAINS,
        group_kinds: &[GroupKind::Domain],
        max_iocs: 500_000,
        format: Format::Dnsmasq,
        setup: &[field(
            "cron",
            "curl -fsS -u {account_id}:{key} {url} -o /tmp/{list}.new && dnsmasq --test --conf-file=/tmp/{list}.new && mv /tmp/{list}.new /etc/dnsmasq.d/{list}.conf && systemctl restart dnsmasq",
        )],
        ..OURS
    },
    DeviceType {
        id: "unbound",
        name: "Unbound",
        kinds: DOMAINS,
        group_kinds: &[GroupKind::Domain],
        max_iocs: 500_000,
        format: Format::Unbound,
        setup: &[field(
            "cron",
            "curl -fsS -u {account_id}:{key} {url} -o /tmp/{list}.new && unbound-checkconf /tmp/{list}.new && mv /tmp/{list}.new /etc/unbound/unbound.conf.d/{list}.conf && unbound-control reload",
        )],
        ..OURS
    },
    DeviceType {
        id: "zeek",
        name: "Zeek (intelligence framework)",
        kinds: Kind::ALL,
        grammar: ANYTHING,
        max_iocs: 500_000,
        format: Format::ZeekIntel,
        setup: &[
            field(
                "cron",
                "curl -fsS -u {account_id}:{key} {url} -o /opt/zeek/share/{list}.new && mv /opt/zeek/share/{list}.new /opt/zeek/share/{list}.intel",
            ),
            field("local.zeek", "@load frameworks/intel/seen"),
            field("", "@load frameworks/intel/do_notice"),
            field("", "redef Intel::read_files += { \"/opt/zeek/share/{list}.intel\" };"),
            field("", "redef Intel::item_expiration = 1 day;"),
        ],
        ..OURS
    },
    DeviceType {
        id: "suricata",
        name: "Suricata (datasets)",
        kinds: &[Kind::Domain, Kind::Ipv4, Kind::Ipv6, Kind::Url, Kind::Md5, Kind::Sha256],
        group_kinds: &[
            GroupKind::Domain,
            GroupKind::Ip,
            GroupKind::Url,
            GroupKind::Md5,
            GroupKind::Sha256,
        ],
        // Its ip datasets hold single addresses.
        grammar: SINGLE_ADDRESSES,
        max_iocs: 500_000,
        format: Format::SuricataDataset,
        setup: &[
            field(
                "cron",
                "curl -fsS -u {account_id}:{key} {url} -o /var/lib/suricata/data/{list}.lst && suricatasc -c ruleset-reload-nonblocking",
            ),
            field(
                "rule for a group of domains",
                "alert dns any any -> any any (msg:\"iocast domain\"; dns.query; dataset:isset,{list},type string,load {list}.lst; sid:9000001; rev:1;)",
            ),
        ],
        ..OURS
    },
    DeviceType {
        id: "splunk-csv",
        name: "Splunk (lookup table)",
        kinds: Kind::ALL,
        grammar: ANYTHING,
        max_iocs: 500_000,
        format: Format::Csv,
        setup: &[
            field(
                "cron",
                "curl -fsS -u {account_id}:{key} {url} -o $SPLUNK_HOME/etc/apps/search/lookups/{list}.csv",
            ),
            field("Settings > Lookups > Lookup definitions > Add new: Name", "{list}"),
            field("Lookup file", "{list}.csv"),
            field("in a search", "| lookup {list} value AS dest OUTPUT severity, malware_families"),
        ],
        ..OURS
    },
    DeviceType {
        id: "defender-csv",
        name: "Microsoft Defender for Endpoint (CSV import)",
        kinds: &[Kind::Domain, Kind::Url, Kind::Ipv4, Kind::Ipv6, Kind::Sha1, Kind::Sha256],
        grammar: Grammar { networks: false, ..ANYTHING },
        max_iocs: 15_000,
        format: Format::DefenderCsv,
        setup: &[
            field(
                "Download, 500 rows a file as an import takes them",
                "curl -fsS -u {account_id}:{key} \"{url}?s=0&n=500\" -o {list}_1.csv",
            ),
            field(
                "and the next ones",
                "curl -fsS -u {account_id}:{key} \"{url}?s=500&n=500\" -o {list}_2.csv",
            ),
            field(
                "Settings > Endpoints > Rules > Indicators > Import",
                "the files, one after the other",
            ),
        ],
        ..OURS
    },
    DeviceType {
        id: "plain-list",
        name: "Plain list (one value a line)",
        kinds: Kind::ALL,
        grammar: ANYTHING,
        max_iocs: 1_000_000,
        setup: &[
            field("URL", "{url}"),
            field("User", "{account_id}"),
            field("Password", "{key}"),
            field("or try it", "curl -fsS -u {account_id}:{key} {url}"),
        ],
        ..OURS
    },
    DeviceType {
        id: "json",
        name: "JSON (scripts)",
        kinds: Kind::ALL,
        grammar: ANYTHING,
        max_iocs: 1_000_000,
        format: Format::Json,
        setup: &[
            field("URL", "{url}"),
            field("User", "{account_id}"),
            field("Password", "{key}"),
            field("or try it", "curl -fsS -u {account_id}:{key} {url}"),
        ],
        ..OURS
    },
    DeviceType {
        id: "ndjson",
        name: "NDJSON (Elastic, Logstash, scripts)",
        kinds: Kind::ALL,
        grammar: ANYTHING,
        max_iocs: 1_000_000,
        format: Format::Ndjson,
        setup: &[
            field("URL", "{url}"),
            field("User", "{account_id}"),
            field("Password", "{key}"),
            field("or try it", "curl -fsS -u {account_id}:{key} {url}"),
        ],
        ..OURS
    },
    DeviceType {
        id: "csv",
        name: "CSV (spreadsheets, scripts)",
        kinds: Kind::ALL,
        grammar: ANYTHING,
        max_iocs: 1_000_000,
        format: Format::Csv,
        setup: &[
            field("URL", "{url}"),
            field("User", "{account_id}"),
            field("Password", "{key}"),
            field("or try it", "curl -fsS -u {account_id}:{key} {url}"),
        ],
        ..OURS
    },
];
