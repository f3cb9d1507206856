// The columns of Dataverse's tables that the queries of the benchmark speak of.
namespace peer;

entity accounts {
  key accountid : UUID;
  name          : String(160);
  contacts      : Association to many contacts on contacts.parent = $self;
}

entity contacts {
  key contactid : UUID;
  firstname     : String(50);
  lastname      : String(50);
  fullname      : String(160);
  jobtitle      : String(100);
  telephone1    : String(50);
  mobilephone   : String(50);
  emailaddress1 : String(100);
  createdon     : DateTime;
  statecode     : Integer;
  parent        : Association to accounts;
}
