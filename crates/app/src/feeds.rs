//! Which file of a MISP event a client gets.

use std::sync::Arc;

use iocast_context::Pulled;
use iocast_domain::receipt::{EventBody, Fetched};
use iocast_serving::File;
use iocast_watch::Client;

use crate::App;

impl App {
    /// The file of a MISP event for the MISP that asks for it: one that never had the event gets a
    /// file without what was taken back, because at its first import a MISP attaches tags that are
    /// listed as deleted. All others get the whole one, also where receipts can't be read.
    pub async fn event_file(
        &self,
        pulled: &mut Pulled,
        client: &Client,
        whole: &Arc<File>,
    ) -> Arc<File> {
        let Some(first) = &whole.first else { return Arc::clone(whole) };
        if !self.watch.is_first_fetch(pulled, client).await {
            return Arc::clone(whole);
        }
        if let Fetched::Event { body, .. } = &mut pulled.fetched {
            *body = EventBody::First;
        }
        Arc::clone(first)
    }
}
