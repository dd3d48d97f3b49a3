import Pipeline

@testable import JWTAuthentication

/// The same bytes as a token, as header and payload of a token that is rightly signed, and as a key set.
@_cdecl("LLVMFuzzerTestOneInput") public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  let now = UnixTime(seconds: 1000, nanoseconds: 0)

  if (try? verifier.verify(bytes, now: now)) != nil {
    // Only what the secret has signed is taken; no input can hold a signature by one of the other keys.
    let text = String(decoding: bytes, as: UTF8.self)
    let end = text.lastIndex(of: ".") ?? text.endIndex
    let signature = TokenMaker.base64url(TokenMaker.hmac(String(text[..<end])))
    Fuzzing.expect(text[end...].dropFirst() == signature, "a token with another signature is taken")
  }

  let parts = bytes.split(separator: 10, maxSplits: 1, omittingEmptySubsequences: false)
  let header = String(decoding: parts.first ?? [], as: UTF8.self)
  let payload = String(decoding: parts.count > 1 ? parts[1] : [], as: UTF8.self)
  let token = Array(TokenMaker.hs256(payload, header: header).utf8)
  if let claims = try? verifier.verify(token, now: now) {
    Fuzzing.expect(
      header.contains("HS256") || header.contains("\\u"), "a token is taken whose header names no algorithm")
    var damaged = token
    damaged[0] ^= 1
    Fuzzing.expect(
      (try? verifier.verify(damaged, now: now)) == nil, "a token is taken that was changed after it was signed")
    if let expiresAt = claims.expiresAt, expiresAt < 1e12 {
      let late = UnixTime(seconds: 2_000_000_000_000, nanoseconds: 0)
      Fuzzing.expect((try? verifier.verify(token, now: late)) == nil, "a token is taken after it has expired")
    }
  }

  if let keys = try? JWKSet(json: bytes, allowsSecrets: false) {
    for algorithm in [JWTAlgorithm.hs256, .rs256, .es256, .edDSA] {
      for key in keys.candidates(algorithm, id: nil) {
        Fuzzing.expect(!key.verifies([1, 2, 3], of: bytes), "a key takes any signature")
      }
    }
  }
  return 0
}

private let verifier: JWTVerifier = {
  do {
    return JWTVerifier(keys: [try .hs256(secret: TokenMaker.secret), try .rs256(pem: TestKeys.rsaPublic)])
  } catch {
    Fuzzing.fail("the keys are refused: \(error)")
  }
}()
