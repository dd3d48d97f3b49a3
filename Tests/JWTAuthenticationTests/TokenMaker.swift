import COpenSSL
import JWTAuthentication
import Pipeline

/// Makes tokens, right ones and wrong ones.
enum TokenMaker {
  static let secret = Array("a secret of thirty-two bytes, no less".utf8)

  static func base64url(_ bytes: some Sequence<UInt8>) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    var text = ""
    var bits: UInt32 = 0
    var count: UInt32 = 0
    for byte in bytes {
      bits = bits << 8 | UInt32(byte)
      count += 8
      while count >= 6 {
        count -= 6
        text.append(alphabet[Int(bits >> count & 63)])
      }
    }
    if count > 0 { text.append(alphabet[Int(bits << (6 - count) & 63)]) }
    return text
  }

  static func hmac(_ message: String, _ key: [UInt8] = secret) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: 32)
    var length: UInt32 = 0
    HMAC(EVP_sha256(), key, Int32(key.count), Array(message.utf8), message.utf8.count, &digest, &length)
    return digest
  }

  static func hs256(
    _ payload: String = #"{"sub":"ann","exp":2000}"#, header: String = #"{"alg":"HS256"}"#, key: [UInt8] = secret
  ) -> String {
    let signed = base64url(header.utf8) + "." + base64url(payload.utf8)
    return signed + "." + base64url(hmac(signed, key))
  }

  /// RS256, ES256 or EdDSA, by the key.
  static func signed(
    _ algorithm: String, pem: String, _ payload: String = #"{"sub":"ann","exp":2000}"#, id: String? = nil
  ) -> String {
    let header = #"{"alg":"\#(algorithm)"\#(id.map { #","kid":"\#($0)""# } ?? "")}"#
    let signed = base64url(header.utf8) + "." + base64url(payload.utf8)
    return signed + "." + base64url(signature(of: Array(signed.utf8), algorithm, pem))
  }

  private static func signature(of message: [UInt8], _ algorithm: String, _ pem: String) -> [UInt8] {
    let text = Array(pem.utf8)
    let key = text.withUnsafeBytes { buffer in
      let bio = BIO_new_mem_buf(buffer.baseAddress, Int32(buffer.count))
      defer { BIO_free(bio) }
      return PEM_read_bio_PrivateKey(bio, nil, nil, nil)
    }
    let context = EVP_MD_CTX_new()
    defer {
      EVP_MD_CTX_free(context)
      EVP_PKEY_free(key)
    }
    precondition(EVP_DigestSignInit(context, nil, algorithm == "EdDSA" ? nil : EVP_sha256(), nil, key) == 1)
    var signature = [UInt8](repeating: 0, count: 1024)
    var length = signature.count
    precondition(EVP_DigestSign(context, &signature, &length, message, message.count) == 1)
    let bytes = Array(signature[..<length])
    return algorithm == "ES256" ? raw(bytes) : bytes
  }

  /// Two numbers in DER as 64 bytes.
  private static func raw(_ der: [UInt8]) -> [UInt8] {
    let r = number(der, at: 2)
    let s = number(der, at: 2 + 2 + Int(der[3]))
    return r + s
  }

  private static func number(_ der: [UInt8], at begin: Int) -> [UInt8] {
    let digits = der[(begin + 2)..<(begin + 2 + Int(der[begin + 1]))].drop { $0 == 0 }
    return [UInt8](repeating: 0, count: 32 - digits.count) + digits
  }

  static func jwks(_ keys: String...) -> [UInt8] { Array(#"{"keys":[\#(keys.joined(separator: ","))]}"#.utf8) }

  static func rsaJWK(_ id: String = "r", more: String = "", n: String = TestKeys.n) -> String {
    #"{"kty":"RSA","n":"\#(n)","e":"AQAB","kid":"\#(id)"\#(more)}"#
  }

  static func ecJWK(_ id: String = "e", more: String = "") -> String {
    #"{"kty":"EC","crv":"P-256","x":"\#(TestKeys.x)","y":"\#(TestKeys.y)","kid":"\#(id)"\#(more)}"#
  }

  static func edJWK(_ id: String = "d", more: String = "") -> String {
    #"{"kty":"OKP","crv":"Ed25519","x":"\#(TestKeys.ed)","kid":"\#(id)"\#(more)}"#
  }

  static func secretJWK(_ id: String = "s") -> String { #"{"kty":"oct","k":"\#(base64url(secret))","kid":"\#(id)"}"# }
}

extension JWTVerifier {
  /// "ann", or why not.
  func judge(_ token: String, at seconds: Int64 = 1000) -> String {
    do { return try verify(Array(token.utf8), now: UnixTime(seconds: seconds)).subject } catch { return "\(error)" }
  }
}
