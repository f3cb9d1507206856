//! People at the sign-in page: second factors, passwords, guests, policies.

use tieline_sandbox::seed::{ConditionalAccess, Mfa};

use crate::rig::*;

const V2: &str = "/contoso.example/oauth2/v2.0/authorize";

fn query<'a>(more: &[Pair<'a>]) -> Vec<Pair<'a>> {
    let mut query = vec![
        ("client_id", TIELINE),
        ("response_type", "code"),
        ("redirect_uri", CALLBACK),
        ("scope", SCOPE),
    ];
    query.extend_from_slice(more);
    query
}

async fn first_page(rig: &Rig, person: Pair<'_>) -> Page {
    let page = rig.query(V2, &query(&[])).await;
    rig.log_in(&page, person).await
}

#[tokio::test]
async fn the_page_says_why_somebody_does_not_get_in() {
    let rig = Rig::start().await;
    for (person, code) in [
        ((MEGAN.0, "wrong"), "AADSTS50126"),
        (("nobody@contoso.example", "x"), "AADSTS50034"),
        (("nestor@fabrikam.example", "Rehearsal-5"), "AADSTS50020"),
        (("adele@contoso.example", "Rehearsal-4"), "AADSTS50057"),
        (("patti@contoso.example", "Rehearsal-9"), "AADSTS50053"),
    ] {
        let page = first_page(&rig, person).await;
        assert!(
            page.status == 200 && page.holds(code),
            "{code}: {}",
            page.text
        );
        assert!(page.holds("role=\"alert\"") && page.holds("name=\"passwd\""));
    }
}

#[tokio::test]
async fn a_second_factor_is_approved_or_denied() {
    let rig = Rig::start().await;
    let page = first_page(&rig, ("isaiah@contoso.example", "Rehearsal-7")).await;
    assert!(page.holds("Approve sign in request") && page.holds("idRichContext_DisplaySign"));
    let page = rig.press(&page, &[("decision", "deny")]).await;
    assert!(page.holds("AADSTS500121"));
    let page = rig.press(&page, &[("decision", "approve")]).await;
    assert!(page.holds("idBtn_Accept"), "{}", page.text);
    let page = rig.press(&page, &[("decision", "accept")]).await;
    assert!(page.parameters().contains_key("code"));
    // The session remembers the factor.
    let page = rig.query(V2, &query(&[("prompt", "none")])).await;
    assert!(page.parameters().contains_key("code"));
}

#[tokio::test]
async fn a_policy_makes_somebody_register_first() {
    let rig = Rig::with(|seed| {
        seed.tenants[0].conditional_access = ConditionalAccess::RequireMfa;
    })
    .await;
    let page = first_page(&rig, MEGAN).await;
    assert!(page.holds("More information required"), "{}", page.text);
    let page = rig.query(V2, &query(&[("prompt", "none")])).await;
    let found = page.parameters();
    assert_eq!(found["error"], "interaction_required");
    assert!(found["error_description"].starts_with("AADSTS50079"));
    let tokens = rig.granted(MEGAN).await;
    assert_eq!(rig.refresh(&tokens).await.status, 200);
    rig.forget();
    let page = first_page(&rig, MEGAN).await;
    assert!(page.holds("Approve sign in request"), "{}", page.text);
}

#[tokio::test]
async fn policies_block_on_the_page() {
    for (policy, code) in [
        (ConditionalAccess::Block, "AADSTS53003"),
        (ConditionalAccess::RequireCompliantDevice, "AADSTS53000"),
        (ConditionalAccess::RequireJoinedDevice, "AADSTS53001"),
    ] {
        let rig = Rig::with(|seed| seed.tenants[0].conditional_access = policy).await;
        let page = first_page(&rig, MEGAN).await;
        assert!(page.status == 400 && page.holds(code), "{}", page.text);
    }
}

#[tokio::test]
async fn an_expired_password_is_replaced_at_the_sign_in() {
    let rig = Rig::start().await;
    let page = first_page(&rig, ("lynne@contoso.example", "Rehearsal-8")).await;
    assert!(page.holds("AADSTS50055") && page.holds("Update your password"));
    let change = |old, new, again| {
        [
            ("login", "lynne@contoso.example"),
            ("oldpasswd", old),
            ("newpasswd", new),
            ("confirm", again),
        ]
    };
    for (old, new, again, problem) in [
        ("wrong", "Rehearsal-80", "Rehearsal-80", "AADSTS50126"),
        (
            "Rehearsal-8",
            "Rehearsal-80",
            "Rehearsal-81",
            "do not match",
        ),
        ("Rehearsal-8", "short", "short", "eight characters"),
        (
            "Rehearsal-8",
            "Rehearsal-8",
            "Rehearsal-8",
            "is the old one",
        ),
    ] {
        assert!(
            rig.press(&page, &change(old, new, again))
                .await
                .holds(problem)
        );
    }
    let page = rig
        .press(
            &page,
            &change("Rehearsal-8", "Rehearsal-80", "Rehearsal-80"),
        )
        .await;
    assert!(page.holds("idBtn_Accept"), "{}", page.text);
    rig.forget();
    let page = first_page(&rig, ("lynne@contoso.example", "Rehearsal-8")).await;
    assert!(page.holds("AADSTS50126"));
}

#[tokio::test]
async fn a_guest_signs_in_with_the_password_of_home() {
    let rig = Rig::start().await;
    let tokens = rig.granted(("lee@fabrikam.example", "Rehearsal-6")).await;
    let said = claims(&tokens["access_token"]);
    assert_eq!(said["tid"], CONTOSO);
    assert_eq!(said["upn"], "lee_fabrikam.example#EXT#@contoso.example");
    assert!(said["idp"].as_str().unwrap().contains(FABRIKAM));
    let body = rig
        .refresh_with(&tokens, &[("client_info", "1")])
        .await
        .json();
    let info = format!(".{}", body["client_info"].as_str().unwrap());
    assert_eq!(claims(&info.into())["utid"], FABRIKAM);
}

#[tokio::test]
async fn only_assigned_people_use_the_back_office() {
    let rig = Rig::start().await;
    let office = query(&[("client_id", "c4d5e6f7-a8b9-4c0d-9e1f-2a3b4c5d6e7f")]);
    let office = &office[1..];
    let page = rig.query(V2, office).await;
    let page = rig.log_in(&page, ALEX).await;
    assert!(
        page.status == 400 && page.holds("AADSTS50105"),
        "{}",
        page.text
    );
    rig.forget();
    assert!(
        rig.visit(V2, office, MEGAN)
            .await
            .parameters()
            .contains_key("code")
    );
}

#[tokio::test]
async fn a_password_alone_is_not_enough_for_who_needs_a_second_factor() {
    let rig = Rig::with(|seed| seed.tenants[0].users[0].mfa = Mfa::Registered).await;
    rig.code(DESKTOP, SCOPE, MEGAN).await;
    let form = [
        ("grant_type", "password"),
        ("client_id", DESKTOP),
        ("username", MEGAN.0),
        ("password", MEGAN.1),
        ("scope", SCOPE),
    ];
    assert_eq!(rig.token(&form).await.status, 200);
    rig.forget();
    rig.code(DESKTOP, SCOPE, ("isaiah@contoso.example", "Rehearsal-7"))
        .await;
    let mut needs = form;
    needs[2] = ("username", "isaiah@contoso.example");
    needs[3] = ("password", "Rehearsal-7");
    let body = refused(
        &rig.token(&needs).await,
        400,
        "interaction_required",
        50_076,
    );
    assert_eq!(body["suberror"], "basic_action");
}

#[tokio::test]
async fn a_tenant_may_leave_consent_to_administrators() {
    let rig = Rig::with(|seed| seed.tenants[0].user_consent = false).await;
    let page = first_page(&rig, ALEX).await;
    assert!(page.holds("Need admin approval") && page.holds("AADSTS90094"));
    let found = rig
        .press(&page, &[("decision", "blocked")])
        .await
        .parameters();
    assert_eq!(found["error"], "access_denied");
    assert!(found["error_description"].starts_with("AADSTS90094"));
}

#[tokio::test]
async fn where_administrators_can_be_asked_the_code_says_so() {
    let rig = Rig::with(|seed| {
        seed.tenants[0].user_consent = false;
        seed.tenants[0].admin_consent_requests = true;
    })
    .await;
    let page = first_page(&rig, ALEX).await;
    assert!(page.holds("AADSTS90095"), "{}", page.text);
    let found = rig
        .press(&page, &[("decision", "blocked")])
        .await
        .parameters();
    assert!(found["error_description"].starts_with("AADSTS90095"));
}
