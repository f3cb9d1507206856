using peer from '../db/schema';

@path: '/data'
service Data {
  entity accounts as projection on peer.accounts;
  entity contacts as projection on peer.contacts;
}
