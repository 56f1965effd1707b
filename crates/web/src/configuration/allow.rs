//! The allow list of a document.

use super::{
    Action, FieldChange,
    current::folded,
    document::{AllowPart, Document},
    plan::{Planner, Work, step},
};

impl Planner<'_> {
    /// Changes of the allow list: entries for everything before anything is published, the others
    /// when their devices and sources are there. What a person adds besides stays.
    pub(super) fn allow(&mut self, wanted: &Document, there: &Document, scoped: bool) {
        let of = |document: &Document| document.guards.as_ref().and_then(|of| of.allow.clone());
        let (Some(wanted), there) = (of(wanted), of(there).unwrap_or_default()) else { return };
        let here = |of: &&AllowPart| (of.source.is_some() || of.device.is_some()) == scoped;
        let add: Vec<AllowPart> =
            wanted.iter().filter(here).filter(|of| !there.contains(of)).cloned().collect();
        let same = |of: &AllowPart| wanted.iter().any(|entry| entry.key() == of.key());
        let gone = there.iter().filter(here).filter(|of| self.prune && !same(of));
        let remove: Vec<AllowPart> = gone.cloned().collect();
        if add.is_empty() && remove.is_empty() {
            return;
        }
        let changed = |from: Option<&AllowPart>, to: Option<&AllowPart>| FieldChange {
            field: "allow".to_owned(),
            from: from.map(AllowPart::words).into(),
            to: to.map(AllowPart::words).into(),
        };
        let before = |of: &AllowPart| there.iter().find(|entry| entry.key() == of.key());
        let added = add.iter().map(|of| changed(before(of), Some(of)));
        let removed = remove.iter().map(|of| changed(Some(of), None));
        let fields = added.chain(removed).collect();
        let work = Work::Allow { add, remove };
        self.steps.push(step(Action::Update, "guards", "allow list", fields, work));
    }
}

impl AllowPart {
    /// What tells entries apart: the value, and where it holds.
    pub(super) fn key(&self) -> String {
        let of = |name: &Option<String>| name.as_deref().map(folded).unwrap_or_default();
        format!("{} {} {}", self.value, of(&self.source), of(&self.device)).trim().to_owned()
    }

    fn words(&self) -> String {
        let until = self.expires_at.map(|at| format!("until {at}"));
        let source = self.source.as_ref().map(|name| format!("source {name}"));
        let device = self.device.as_ref().map(|name| format!("device {name}"));
        let more: Vec<String> =
            [source, device, until, self.comment.clone()].into_iter().flatten().collect();
        if more.is_empty() {
            self.value.clone()
        } else {
            format!("{} ({})", self.value, more.join(", "))
        }
    }
}
