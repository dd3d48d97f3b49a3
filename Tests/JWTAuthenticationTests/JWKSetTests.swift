import JWTAuthentication
import Pipeline
import Testing

struct JWKSetTests {
  private func why(_ jwks: [UInt8]) -> String {
    do {
      _ = try JWTVerifier(jwks: jwks)
      return "good"
    } catch { return "\(error)" }
  }

  private func why(_ jwk: String) -> String {
    let text = why(TokenMaker.jwks(jwk))
    return text.replacing("no key of the set can be used: key 1: ", with: "")
  }

  @Test func keysAreChosenByTheirIDs() throws {
    let verifier = try JWTVerifier(
      jwks: TokenMaker.jwks(TokenMaker.rsaJWK(), TokenMaker.ecJWK(), TokenMaker.edJWK(), TokenMaker.secretJWK()))
    for (algorithm, pem, id) in [
      ("RS256", TestKeys.rsaPrivate, "r"), ("ES256", TestKeys.ecPrivate, "e"), ("EdDSA", TestKeys.edPrivate, "d"),
    ] {
      #expect(verifier.judge(TokenMaker.signed(algorithm, pem: pem, id: id)) == "ann")
      #expect(verifier.judge(TokenMaker.signed(algorithm, pem: pem)) == "ann", "without a kid")
      let unknown = TokenMaker.signed(algorithm, pem: pem, id: "x")
      #expect(verifier.judge(unknown) == "there is no key of its algorithm with its kid")
      // The id of a key of another algorithm.
      let other = TokenMaker.signed(algorithm, pem: pem, id: "s")
      #expect(verifier.judge(other) == "there is no key of its algorithm with its kid")
    }
  }

  @Test func aKeyWithoutAnIDIsTriedOnAll() throws {
    let verifier = JWTVerifier(keys: [try .es256(pem: TestKeys.ecPublic)])
    #expect(verifier.judge(TokenMaker.signed("ES256", pem: TestKeys.ecPrivate, id: "any")) == "ann")
  }

  @Test func keysOfNoUseAreLeftOut() throws {
    let verifier = try JWTVerifier(
      jwks: TokenMaker.jwks(#"{"kty":"XYZ"}"#, "7", TokenMaker.ecJWK("x", more: #","use":"enc""#), TokenMaker.ecJWK()))
    #expect(verifier.judge(TokenMaker.signed("ES256", pem: TestKeys.ecPrivate, id: "e")) == "ann")
    #expect(
      verifier.judge(TokenMaker.signed("ES256", pem: TestKeys.ecPrivate, id: "x"))
        == "there is no key of its algorithm with its kid")
  }

  @Test func keysThatCannotBeUsedSayWhy() {
    #expect(why(TokenMaker.ecJWK(more: #","use":"sig","key_ops":["verify"],"alg":"ES256""#)) == "good")
    #expect(why(TokenMaker.ecJWK(more: #","use":"enc""#)) == "its \"use\" is not \"sig\"")
    #expect(why(TokenMaker.ecJWK(more: #","key_ops":["sign"]"#)) == "its \"key_ops\" do not contain \"verify\"")
    #expect(
      why(TokenMaker.ecJWK(more: #","alg":"ES384""#))
        == "its \"alg\" is not \"ES256\", the one that is taken for its type")
    #expect(
      why(TokenMaker.rsaJWK(more: #","alg":"HS256""#))
        == "its \"alg\" is not \"RS256\", the one that is taken for its type")
    #expect(why(TokenMaker.rsaJWK(n: TestKeys.weakN)) == "the RSA key has 1024 bits: 2048 to 8192 are allowed")
    #expect(why(#"{"kty":"RSA","n":"AQAB"}"#) == "its \"e\" is missing or no base64url")
    #expect(why(#"{"kty":"RSA","n":"\#(TestKeys.n)=","e":"AQAB"}"#) == "its \"n\" is missing or no base64url")
    #expect(why(#"{"kty":"RSA","n":"\#(TestKeys.n)","e":"AQ"}"#) == "the numbers of the key are no public key")
    #expect(
      why(#"{"kty":"EC","crv":"P-384","x":"\#(TestKeys.x)","y":"\#(TestKeys.y)"}"#) == "its \"crv\" is not \"P-256\"")
    // Not on the curve (RFC 8725, 3.4).
    #expect(
      why(#"{"kty":"EC","crv":"P-256","x":"\#(TestKeys.x)","y":"\#(TestKeys.x)"}"#)
        == "OpenSSL does not take it for a public key")
    #expect(
      why(#"{"kty":"EC","crv":"P-256","x":"AQAB","y":"AQAB"}"#) == "its \"x\" and \"y\" have not 32 bytes each")
    #expect(why(#"{"kty":"OKP","crv":"X25519","x":"\#(TestKeys.ed)"}"#) == "its \"crv\" is not \"Ed25519\"")
    #expect(why(#"{"kty":"OKP","crv":"Ed25519","x":"AQAB"}"#) == "its \"x\" has not 32 bytes")
    #expect(why(#"{"kty":"oct","k":"AQAB"}"#) == "the HS256 secret has 3 bytes: 32 to 1024 are allowed")
    #expect(why(#"{"kty":"oct"}"#) == "its \"k\" is missing or no base64url")
    #expect(why(TokenMaker.ecJWK(more: #","kid":7"#)).contains("a member stands twice"))
  }

  @Test func whatIsNoSetSaysSo() {
    #expect(why(Array("".utf8)) == "the key set is no valid JSON: it ends too early at byte 0")
    #expect(why(Array("[]".utf8)) == "the key set is no object with a member \"keys\" that is an array")
    #expect(why(Array(#"{"keys":[]}"#.utf8)) == "no key of the set can be used: it is empty")
    #expect(why([UInt8](repeating: 32, count: 300_000)) == "the key set has 300000 bytes: at most 262144 are taken")
    let many = TokenMaker.jwks(Array(repeating: "1", count: 101).joined(separator: ","))
    #expect(why(many) == "the key set has 101 keys: at most 100 are taken")
  }

  @Test func pemTextsAreOfTheRightKind() {
    #expect(throws: JWTKeyError("it is no RSA key")) { try JWTKey.rs256(pem: TestKeys.ecPublic) }
    #expect(throws: JWTKeyError("it is no key on the curve P-256")) { try JWTKey.es256(pem: TestKeys.p384Public) }
    #expect(throws: JWTKeyError("it is no key on the curve P-256")) { try JWTKey.es256(pem: TestKeys.rsaPublic) }
    #expect(throws: JWTKeyError("it is no Ed25519 key")) { try JWTKey.edDSA(pem: TestKeys.ecPublic) }
    #expect(throws: JWTKeyError("the RSA key has 1024 bits: 2048 to 8192 are allowed")) {
      try JWTKey.rs256(pem: TestKeys.weakRSAPublic)
    }
    for text in ["", "x", TestKeys.rsaPrivate] {
      #expect(throws: JWTKeyError.self) { try JWTKey.rs256(pem: text) }
    }
    #expect("\(try! JWTKey.hs256(secret: TokenMaker.secret, id: "k"))" == "HS256 \"k\"", "the secret is not in it")
  }
}
