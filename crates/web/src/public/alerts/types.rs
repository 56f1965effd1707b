//! The original's words for what alerts are about.

use iocast_domain::alert::AlertKind;

const EXPLOITABLE_DATA: &[&str] = &[
    "VulnerabilityInTechnologyInUse",
    "DNSZoneTransferEnabled",
    "UnmaintainedWebPage",
    "ProblemInSSL",
    "ProblemInSslCertificate",
    "OpenPorts",
    "SiteAccessibleByIPAddress",
    "InternalServiceExposed",
    "InternalLoginPageExposed",
    "UnencryptedLoginPage",
    "DirectoryListingExposed",
    "WebVulnerabilitiesPublished",
    "WebAppSecurity",
    "Ssl/TlsStrength",
    "EmailSecurity",
    "NetworkVulnerablilities",
    "NetworkSecurity",
    "DNSSecurity",
    "VulnerabilityInCompaniesApplication",
    "SummaryAlert",
    "VulnerabilityFromUsedTechnology",
];
const ATTACK_INDICATION: &[&str] = &[
    "CustomQueries",
    "IntelliFindQueries",
    "AttackedByBlackList",
    "AssetReportedAsMalicious",
    "IPAddressOnABlackList",
    "Regex",
    "EmailAddressReportedAsSpam",
    "Scam",
    "IRCHackerChat",
    "TelegramChat",
    "PhishingTargetList",
    "BlackMarket",
    "BotDataForSale",
    "CreditCardsForSale",
    "CompanyAssetsAreOfferedForDownload",
    "ContactsForSale",
    "AttackTargetList",
    "AssetsEmbeddedInMalwareCode",
    "Malware",
    "InsiderThreat",
    "AssetsWereHacked",
    "DDoSTargetList",
    "IndicationOfBeingHacked",
    "SummaryAlert",
];
const PHISHING: &[&str] = &[
    "SuspiciousEmailAddress",
    "RegisteredSuspiciousDomain",
    "CompanyPhishingWebsite",
    "PhishingWatch",
    "SummaryAlert",
];
const BRAND_SECURITY: &[&str] =
    &["SuspiciousSocialMediaProfile", "BrandInfringement", "BrandReputation", "SummaryAlert"];
const DATA_LEAKAGE: &[&str] = &[
    "SensitiveDataLeakedOnWikiLeaks",
    "PrivateDetailsLeakage",
    "LeakedEmailContent",
    "SecretProject",
    "RansomwareLeaks",
    "ConfidentialDocumentLeakage",
    "Doxing",
    "CredentialsLeakage",
    "CreditCardsLeaked",
    "ConfidentialInformationExposed",
    "ExposedMentionsOnGithub",
    "SensitiveDataLeaked",
    "SummaryAlert",
    "SupplyChainProtection",
];

/// What may be of any of the types when it is about a person.
const VIP: &[&str] = &["TwitterChatter"];

/// The subtypes of a type. They are offered, and any other text is taken.
pub(in super::super) fn subtypes(kind: AlertKind) -> Vec<&'static str> {
    match kind {
        AlertKind::AttackIndication => ATTACK_INDICATION.to_vec(),
        AlertKind::DataLeakage => DATA_LEAKAGE.to_vec(),
        AlertKind::Phishing => PHISHING.to_vec(),
        AlertKind::BrandSecurity => BRAND_SECURITY.to_vec(),
        AlertKind::ExploitableData => EXPLOITABLE_DATA.to_vec(),
        AlertKind::Vip => {
            let mut all =
                [ATTACK_INDICATION, DATA_LEAKAGE, PHISHING, BRAND_SECURITY, EXPLOITABLE_DATA, VIP]
                    .concat();
            all.sort_unstable();
            all.dedup();
            all
        }
    }
}
