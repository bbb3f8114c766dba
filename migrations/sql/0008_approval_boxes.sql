-- A person's requests are found by whom they name: each index gives one reason to see a request, newest first.

create index approval_about_user on approval (corp_id, about_userid, id);
create index approval_of_kind on approval (corp_id, kind, id);
create index approval_signers on approval using gin ((level1 || level2));
create index approval_barred on approval using gin (barred);
create index approval_signature_by on approval_signature (corp_id, signer, approval_id);
create index approval_signature_for on approval_signature (corp_id, on_behalf_of, approval_id) where on_behalf_of is not null;
