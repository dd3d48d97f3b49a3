import JWTAuthentication
import Pipeline
import Testing

struct JWTVerifierTests {
  private let verifier = JWTVerifier(keys: [try! .hs256(secret: TokenMaker.secret)])

  private func claims(_ payload: String, _ requirements: JWTRequirements = JWTRequirements(), at now: Int64 = 1000)
    -> String
  {
    JWTVerifier(keys: [try! .hs256(secret: TokenMaker.secret)], requirements: requirements)
      .judge(TokenMaker.hs256(payload), at: now)
  }

  @Test func everyAlgorithmVerifiesItsOwnTokens() throws {
    let verifier = JWTVerifier(keys: [
      try .hs256(secret: TokenMaker.secret), try .rs256(pem: TestKeys.rsaPublic), try .es256(pem: TestKeys.ecPublic),
      try .edDSA(pem: TestKeys.edPublic),
    ])
    #expect(verifier.judge(TokenMaker.hs256()) == "ann")
    #expect(verifier.judge(TokenMaker.signed("RS256", pem: TestKeys.rsaPrivate)) == "ann")
    #expect(verifier.judge(TokenMaker.signed("ES256", pem: TestKeys.ecPrivate)) == "ann")
    #expect(verifier.judge(TokenMaker.signed("EdDSA", pem: TestKeys.edPrivate)) == "ann")
  }

  // MARK: Confusion of algorithms

  @Test func aPublicKeyIsNoSecret() throws {
    for pem in [TestKeys.rsaPublic, TestKeys.ecPublic] {
      #expect(throws: JWTKeyError.self) { try JWTKey.hs256(secret: Array(pem.utf8)) }
    }
    let verifier = JWTVerifier(keys: [try .rs256(pem: TestKeys.rsaPublic)])
    // The text of the public key as the key of an HMAC.
    for key in [TestKeys.rsaPublic, TestKeys.rsaPublic + "\n"] {
      #expect(verifier.judge(TokenMaker.hs256(key: Array(key.utf8))) == "there is no key of its algorithm with its kid")
    }
  }

  @Test func anAlgorithmIsTheKeysAndNotTheTokens() throws {
    let verifier = JWTVerifier(keys: [try .rs256(pem: TestKeys.rsaPublic), try .es256(pem: TestKeys.ecPublic)])
    let token = TokenMaker.signed("RS256", pem: TestKeys.rsaPrivate)
    let parts = token.split(separator: ".")
    let es = TokenMaker.base64url(#"{"alg":"ES256"}"#.utf8) + ".\(parts[1]).\(parts[2])"
    #expect(verifier.judge(es) == "its signature is wrong")
  }

  @Test(arguments: ["none", "None", "NONE", "", "hs256", "HS384", "RS512", "PS256", "ES384", "EdDSA ", "HS256\\u0000"])
  func otherAlgorithmsAreRefused(_ algorithm: String) {
    let token = TokenMaker.hs256(header: #"{"alg":"\#(algorithm)"}"#)
    #expect(verifier.judge(token) == "its algorithm is none that is taken")
    // Without a signature, too.
    let unsigned = token.split(separator: ".").prefix(2).joined(separator: ".") + "."
    #expect(verifier.judge(unsigned) == "its algorithm is none that is taken")
  }

  @Test func anAllowListHoldsWhateverTheKeysAre() throws {
    let strict = JWTVerifier(
      keys: [try .hs256(secret: TokenMaker.secret), try .es256(pem: TestKeys.ecPublic)],
      requirements: JWTRequirements(algorithms: [.es256]))
    #expect(strict.judge(TokenMaker.hs256()) == "its algorithm is none that is taken")
    #expect(strict.judge(TokenMaker.signed("ES256", pem: TestKeys.ecPrivate)) == "ann")
  }

  @Test func aTokenDoesNotBringItsOwnKey() {
    let own = TokenMaker.secretJWK()
    let other = Array("another secret of thirty-two bytes, no less".utf8)
    let verifier = JWTVerifier(keys: [try! .hs256(secret: other)])
    let token = TokenMaker.hs256(header: #"{"alg":"HS256","jwk":\#(own),"jku":"http://127.0.0.1/"}"#)
    #expect(verifier.judge(token) == "its signature is wrong")
  }

  // MARK: The form

  @Test func partsAreCounted() {
    for token in ["", "a", "a.b", "a.b.c.d", "a.b.c.d.e", "...."] {
      #expect(verifier.judge(token).hasPrefix("it is malformed: it has"))
    }
  }

  @Test func onlyOneTextStandsForASignature() {
    let token = TokenMaker.hs256()
    #expect(verifier.judge(token) == "ann")
    for wrong in [
      token + "=", token + " ", " " + token, token + "\n", token + "A", String(token.dropLast()), token + "+",
    ] {
      #expect(verifier.judge(wrong) != "ann")
    }
    // The last character of 32 bytes has two bits that mean nothing.
    let last = token.last!
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for character in alphabet where character != last {
      #expect(verifier.judge(token.dropLast() + String(character)) != "ann")
    }
  }

  @Test(arguments: [
    #"{"alg":"HS256","alg":"HS256"}"#, #"{"alg":"HS256","crit":["exp"]}"#, #"{"alg":"HS256","crit":[]}"#,
    #"{"alg":"HS256","b64":false}"#, #"{"alg":"HS256","zip":"DEF"}"#, #"{"alg":"HS256","kid":1}"#, #"{"alg":1}"#, "{}",
    "[]", "null", "", #"{"alg":"HS256"} x"#, #"{"alg":"HS256",}"#, #"{'alg':'HS256'}"#, #"{"alg":"HS256","a":\#u{1}}"#,
    #"{"alg":"HS256","typ":7}"#, "\u{FEFF}{\"alg\":\"HS256\"}", #"{"\u0061lg":"HS256","alg":"none"}"#,
    #"{"alg":"HS256","a":"\ud800"}"#, #"{"alg":"HS256","a":01}"#, #"{"alg":"HS256","a":1e999}"#,
  ])
  func headersThatAreNotUnderstoodAreRefused(_ header: String) {
    #expect(verifier.judge(TokenMaker.hs256(header: header)).hasPrefix("it is malformed"))
  }

  @Test func nestingIsBounded() {
    for (depth, isTaken) in [(14, true), (17, false), (2000, false)] {
      let payload =
        #"{"sub":"ann","exp":2000,"a":"# + String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        + "}"
      #expect((verifier.judge(TokenMaker.hs256(payload)) == "ann") == isTaken)
    }
  }

  @Test func aLongTokenIsNotLookedAt() {
    let payload = #"{"sub":"ann","exp":2000,"a":"\#(String(repeating: "x", count: 9000))"}"#
    #expect(verifier.judge(TokenMaker.hs256(payload)) == "it is malformed: it has 12107 bytes, and 8192 are taken")
    #expect(claims(payload, JWTRequirements(maxBytes: 20_000)) == "ann")
  }

  @Test func aTypeIsComparedWhereItIsRequired() {
    let verifier = JWTVerifier(
      keys: [try! .hs256(secret: TokenMaker.secret)], requirements: JWTRequirements(type: "at+jwt"))
    func judge(_ type: String) -> String { verifier.judge(TokenMaker.hs256(header: #"{"alg":"HS256"\#(type)}"#)) }
    #expect(judge(#","typ":"at+jwt""#) == "ann")
    #expect(judge(#","typ":"application/AT+JWT""#) == "ann")
    #expect(judge(#","typ":"JWT""#) == "it is malformed: its typ is not the one that is required")
    #expect(judge("") == "it is malformed: its typ is missing")
  }

  // MARK: Claims

  @Test func timesHaveALeeway() {
    #expect(claims(#"{"sub":"ann","exp":1000}"#, at: 1029) == "ann")
    #expect(claims(#"{"sub":"ann","exp":1000}"#, at: 1030) == "it has expired")
    #expect(claims(#"{"sub":"ann","exp":1000.5}"#, JWTRequirements(leeway: .zero), at: 1000) == "ann")
    #expect(claims(#"{"sub":"ann","exp":1000}"#, JWTRequirements(leeway: .zero), at: 1000) == "it has expired")
    #expect(claims(#"{"sub":"ann","exp":2000,"nbf":1030}"#) == "ann")
    #expect(claims(#"{"sub":"ann","exp":2000,"nbf":1031}"#) == "nbf is in the future")
    #expect(claims(#"{"sub":"ann","exp":2000,"iat":1030}"#) == "ann")
    #expect(claims(#"{"sub":"ann","exp":2000,"iat":1031}"#) == "iat is in the future")
  }

  @Test(arguments: [#""2000""#, "null", "true", "-1", "1e13", "[2000]", "{}"])
  func whatIsNoTimeIsRefused(_ time: String) {
    #expect(claims(#"{"sub":"ann","exp":\#(time)}"#) == "exp is no time")
    #expect(claims(#"{"sub":"ann","exp":2000,"nbf":\#(time)}"#) == "nbf is no time")
    #expect(claims(#"{"sub":"ann","exp":2000,"iat":\#(time)}"#) == "iat is no time")
  }

  @Test func aTokenWithoutAnEndIsRefusedUnlessAllowed() {
    #expect(claims(#"{"sub":"ann"}"#) == "exp is missing")
    #expect(claims(#"{"sub":"ann"}"#, JWTRequirements(expires: false)) == "ann")
  }

  @Test func theIssuerMustBeOneOfOurs() {
    let ours = JWTRequirements(issuers: ["https://a", "https://b"])
    #expect(claims(#"{"sub":"ann","exp":2000,"iss":"https://b"}"#, ours) == "ann")
    for wrong in ["", #","iss":"https://c""#, #","iss":"https://a/""#] {
      #expect(
        claims(#"{"sub":"ann","exp":2000\#(wrong)}"#, ours) == "iss is none of those that are accepted")
    }
    #expect(claims(#"{"sub":"ann","exp":2000,"iss":["https://a"]}"#, ours) == "iss is no string")
  }

  @Test func theAudienceMustBeUs() {
    let us = JWTRequirements(audiences: ["api"])
    #expect(claims(#"{"sub":"ann","exp":2000,"aud":"api"}"#, us) == "ann")
    #expect(claims(#"{"sub":"ann","exp":2000,"aud":["x","api"]}"#, us) == "ann")
    #expect(claims(#"{"sub":"ann","exp":2000,"aud":["x"]}"#, us) == "aud is none of those that are accepted")
    #expect(claims(#"{"sub":"ann","exp":2000,"aud":[]}"#, us) == "aud is none of those that are accepted")
    #expect(claims(#"{"sub":"ann","exp":2000}"#, us) == "aud is missing")
    #expect(
      claims(#"{"sub":"ann","exp":2000,"aud":["api",1]}"#, us) == "aud is neither a string nor an array of strings")
    // RFC 7519, 4.1.3: it is for somebody else.
    #expect(claims(#"{"sub":"ann","exp":2000,"aud":"api"}"#) == "aud is there, and none is accepted")
  }

  @Test(arguments: [#""""#, "1", "null", #""a\nb""#, #""\u0000""#, "\"\(String(repeating: "x", count: 256))\""])
  func theSubjectIsAName(_ subject: String) {
    let why = claims(#"{"exp":2000,"sub":\#(subject)}"#)
    #expect(why.hasPrefix("sub is"))
  }

  @Test func otherClaimsMayBeRequiredAndAreRead() throws {
    #expect(claims(#"{"sub":"ann","exp":2000}"#, JWTRequirements(claims: ["tenant"])) == "tenant is missing")
    let payload =
      #"{"sub":"änn 😀","exp":2000,"tenant":"a\u00e9\ud83d\ude00","scope":"read write","roles":["x"],"n":-1.5e1}"#
    let claims = try JWTVerifier(
      keys: [.hs256(secret: TokenMaker.secret)], requirements: JWTRequirements(claims: ["tenant"])
    ).verify(Array(TokenMaker.hs256(payload).utf8), now: UnixTime(seconds: 1000))
    #expect(claims.subject == "änn 😀")
    #expect(claims["tenant"]?.string == "aé😀")
    #expect(claims.words("scope") == ["read", "write"])
    #expect(claims.words("roles") == ["x"])
    #expect(claims["n"]?.number == -15)
    #expect(claims["none"] == nil)
  }

  @Test func noBytesMakeItTrap() {
    // A short search in every direction; the fuzzer does the long one.
    let token = Array(TokenMaker.hs256().utf8)
    for i in token.indices {
      for byte: UInt8 in [0, 10, 32, 46, 61, 0x80, 0xFF] where byte != token[i] {
        var wrong = token
        wrong[i] = byte
        #expect(throws: JWTProblem.self) { try verifier.verify(wrong, now: UnixTime(seconds: 1000)) }
      }
      #expect(throws: JWTProblem.self) { try verifier.verify(Array(token[..<i]), now: UnixTime(seconds: 1000)) }
    }
  }
}
