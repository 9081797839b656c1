//! What a user does with the console, on a controller at a real API server.

use serde_json::json;

use super::browser::Browser;
use super::page::Page;
use crate::apiserver::cluster::Cluster;
use crate::apiserver::controller::Controller;
use crate::apiserver::proxy::send;

const SCREEN: (u32, u32) = (1280, 800);
const PHONE: (u32, u32) = (390, 844);

/// What would be code in a page that wrote names into it.
const MARKUP: &str = "<img/src=x/onerror=alert(1)>";

/// The example, two more namespaces, and what a fence may depend on in each way.
async fn shop(cluster: &Cluster) {
    let objects = &cluster.objects;
    for namespace in ["shop", "bank"] {
        objects.namespace(namespace).await;
    }
    for (namespace, name) in [
        ("default", "productpage"),
        ("default", "details"),
        ("default", "reviews"),
        ("default", "ratings"),
        ("shop", "front"),
        ("shop", "cart"),
        ("bank", "ledger"),
        ("bank", "audit"),
    ] {
        objects.service(namespace, name, json!({"app": name})).await;
    }
    objects.pod("default", "productpage", "10.244.0.10").await;
    objects.pod("shop", "front", "10.244.0.20").await;
    objects.fence("default", "productpage", json!({"enable": true})).await;
    objects.fence("default", "reviews", json!({"enable": true, "host": {"ratings": {"stable": {}}, MARKUP: {}}})).await;
    let expired = json!({"enable": true, "host": {"cart": {"stable": {}}, "audit.bank": {"deadline": {"expire": {"seconds": 7}}}}});
    objects.fence("shop", "front", expired).await;
    objects.fence("bank", "ledger", json!({"enable": true, "labelSelector": [{"selector": {"app": "audit"}}]})).await;
}

/// Everything that is behind the navigation.
const PAGES: [(&str, &str); 5] = [
    ("#/", "nodes"),
    ("#/fences", "4 fences"),
    ("#/fallback", "productpage"),
    ("#/savings", "Clusters of a proxy"),
    ("#/settings", "global.misc.console-addr"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_user_finds_a_fence_sees_it_learn_and_reads_why_by_mouse_and_by_keyboard_in_both_schemes() {
    let Some(browser) = Browser::start("story") else { return };
    let Some(cluster) = Cluster::start("console").await else { return };
    let controller = Controller::start(&cluster, &json!({"wormholePort": ["9080"]}));
    controller.ready().await;
    let page = Page::open(&browser, &controller.console(), SCREEN).await;

    // Nothing is there yet: it says what to do, and what comes appears by itself.
    page.says("No workload is fenced yet").await;
    page.keep("empty").await;
    shop(&cluster).await;
    page.holds("document.querySelector('.canvas')?.drawing?.getElementById('shop/cart').length").await;
    let _calls = send(
        &controller,
        &[("10.244.0.10", "details:9080"), ("10.244.0.10", "x.example:9080"), ("10.244.0.20", "ledger.bank:9080")],
    )
    .await;

    // Live: edges of each kind, without another page load.
    for (edge, kind) in [
        ("default/productpage default/details", "learned"),
        ("default/productpage x.example", "fallback"),
        ("shop/front shop/cart", "static"),
        ("shop/front bank/audit", "expired"),
        ("bank/ledger bank/audit", "derived"),
    ] {
        page.holds(&format!(
            "document.querySelector('.canvas').drawing.edges('[key = \"{edge}\"]').hasClass('{kind}')"
        ))
        .await;
    }
    page.holds("[...document.querySelectorAll('[aria-live]')].some((it) => it.textContent.includes('now depends on'))")
        .await;
    // What was new is not marked for ever.
    page.holds("document.querySelector('.canvas').drawing.edges('.fresh').length === 0").await;
    page.keep("mesh-light").await;

    // By keyboard alone: search, choose, open.
    page.press("/").await;
    page.write("productp").await;
    page.holds("document.querySelector('.count').innerText === '3 nodes, 2 dependencies'").await;
    page.press("Enter").await;
    page.says("Open the fence’s page").await;
    page.keep("chosen").await;
    for _ in 0..40 {
        if page.read("document.activeElement.textContent").await == "Open the fence’s page" {
            break;
        }
        page.press("Tab").await;
    }
    page.press("Enter").await;
    page.holds("location.hash === '#/fence/default/productpage' && document.activeElement.tagName === 'H1'").await;

    // Why, since when, by which request; how far the switch is; and the objects.
    page.says("pod default/productpage-v1 called details").await;
    page.says("routes came: */details.default.svc.cluster.local").await;
    page.holds("document.querySelector('.stage [aria-current=step]').innerText.startsWith('Settled')").await;
    page.says("Ready: True").await;
    page.click("details.document summary").await;
    page.says("kind: ServiceFence").await;
    page.holds("document.querySelectorAll('details.document pre')[1].textContent.includes('kind: Sidecar')").await;
    page.keep("fence-light").await;

    // A call that is made while somebody looks at the fence is on its page.
    let _more = send(&controller, &[("10.244.0.10", "ratings:9080")]).await;
    page.says("called ratings").await;

    // What somebody wrote is text, and stays text.
    page.read("location.hash = '#/fence/default/reviews'").await;
    page.says(MARKUP).await;
    assert_eq!(page.read("document.querySelectorAll('main img').length").await, 0);

    // The table, a namespace, a kind.
    page.read("location.hash = '#/'").await;
    page.click("input[value=table]").await;
    page.holds("document.querySelectorAll('tbody tr').length === 3").await;
    page.read("document.querySelector('.tools input[type=search]').focus()").await;
    page.read("document.execCommand('selectAll')").await;
    page.write("bank").await;
    page.holds("document.querySelectorAll('tbody tr').length === 3").await;
    page.click(".kinds label:nth-of-type(7) input").await;
    page.holds("document.querySelectorAll('tbody tr').length === 2").await;
    page.keep("table").await;
    page.write("nothing-like-it").await;
    page.says("Nothing fits").await;
    page.click(".empty button").await;

    for scheme in ["light", "dark"] {
        page.prefer(scheme).await;
        for (hash, text) in PAGES.into_iter().chain([("#/fence/shop/front", "What happened")]) {
            page.read(&format!("location.hash = '{hash}'")).await;
            page.says(text).await;
            let name = hash.trim_start_matches("#/").replace('/', "-");
            page.keep(&format!("{}-{scheme}", if name.is_empty() { "table" } else { &name })).await;
            assert_eq!(page.barriers().await, Vec::<String>::new(), "{hash} {scheme}");
        }
    }
    page.read("location.hash = '#/'").await;
    page.click("input[value=drawing]").await;
    page.holds("document.querySelector('.canvas')?.drawing").await;
    page.keep("mesh-dark").await;
    page.resize(PHONE).await;
    for (hash, text) in [PAGES[0], PAGES[1], ("#/fence/default/productpage", "What happened")] {
        page.read(&format!("location.hash = '{hash}'")).await;
        page.says(text).await;
        page.holds("document.documentElement.scrollWidth <= innerWidth").await;
        page.keep(&format!("phone-{}", hash.trim_start_matches("#/").replace('/', "-"))).await;
    }

    page.read("location.hash = '#/fence/default/nobody'").await;
    page.says("there is no ServiceFence default/nobody").await;
    assert_only_from(&page, &controller.console());
    // The browser tells of the fence that is not there; of nothing else.
    let complaints = page.complaints();
    let unexpected: Vec<_> = complaints
        .iter()
        .filter(|it| !it["entry"]["url"].as_str().is_some_and(|url| url.ends_with("/nobody")))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
}

fn assert_only_from(page: &Page, console: &str) {
    let asked = page.asked();
    assert!(asked.len() > 15, "{asked:?}");
    for address in asked {
        assert!(address.starts_with(console) || address == "about:blank", "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_is_told_when_the_line_is_cut_and_goes_on_when_it_is_back() {
    let Some(browser) = Browser::start("line") else { return };
    let Some(cluster) = Cluster::start("console-line").await else { return };
    cluster.objects.service("default", "a", json!({})).await;
    cluster.objects.fence("default", "a", json!({"enable": true})).await;
    let mut controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;
    let page = Page::open(&browser, &controller.console(), SCREEN).await;
    page.holds("document.querySelector('.canvas')?.drawing?.getElementById('default/a').length").await;
    controller.kill();
    page.says("The line to the controller is cut").await;
    page.keep("cut").await;
    cluster.objects.fence("default", "b", json!({"enable": true})).await;
    controller.start_again();
    page.holds("document.querySelector('.canvas').drawing.getElementById('default/b').length").await;
    page.holds("!document.querySelector('.trouble').innerText").await;
}
