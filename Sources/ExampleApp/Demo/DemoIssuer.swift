/// Who signs the demo's tokens. The private key was thrown away when the one token was made: nobody can make another one.
enum DemoIssuer {
  /// What it publishes (RFC 7517).
  static let keys = """
    {"keys":[{"kty":"EC","crv":"P-256","kid":"demo","x":"wOEzs2TbRCavUJnOVS_NLE9nbsKFlvu4gJzy0mrWwBI",
    "y":"TTHapJwCQv3HmhbsVxFwS4P-3uvc1Y2u4jBZXvarA18"}]}
    """

  /// For fierceRabbit, to read, until 2100.
  static let token =
    "eyJhbGciOiJFUzI1NiIsImtpZCI6ImRlbW8ifQ"
    + ".eyJzdWIiOiJmaWVyY2VSYWJiaXQiLCJhdWQiOiJzbHVpY2UtZGVtbyIsInNjb3BlIjoicmVhZCIsImV4cCI6NDEwMjQ0NDgwMH0"
    + ".DSHf_LPjUvM_Pnux_HcyRcrQLlVX7RCV_hM1kjqoiH7jdJ5A6kXO4ZI11EZ8n7kbqHzcYs1JKThQVlO_1yzQdQ"
}
