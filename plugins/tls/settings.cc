#include "settings.h"

#include <hostloom/endpoint_settings.h>

#include <openssl/evp.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

namespace loom::tls {
namespace {

constexpr std::size_t kMostPem = 1u << 20;
constexpr std::size_t kMostPairsBytes = 1 << 20, kMostName = 253;

bool is_protocol_list(std::string_view list) noexcept {
  while (!list.empty()) {
    const std::size_t n = static_cast<unsigned char>(list[0]);
    if (n == 0 || n + 1 > list.size()) return false;
    list.remove_prefix(n + 1);
  }
  return true;
}

// Perhaps a key: nothing of it stays in a buffer of libc's.
Result<SecretString> read_file(const std::string& path) {
  const std::unique_ptr<FILE, int (*)(FILE*)> f{std::fopen(path.c_str(), "re"), std::fclose};
  if (!f) return error(Status::kInvalid, path + ": " + std::strerror(errno));
  std::setvbuf(f.get(), nullptr, _IONBF, 0);
  SecretString text(kMostPem + 1, 0);
  text.resize(std::fread(text.data(), 1, text.size(), f.get()));
  if (std::ferror(f.get())) return error(Status::kInvalid, path + ": " + std::strerror(errno));
  if (text.size() > kMostPem) return error(Status::kInvalid, path + " is larger than 1 MB");
  text.shrink_to_fit();
  return text;
}

// A pair's number may be another's later, so the pairs themselves count, too.
std::string digest_of(const std::string& bytes, const std::vector<KeyPair>& pairs) {
  std::string digest(EVP_MAX_MD_SIZE, 0);
  unsigned n = 0;
  EVP_MD_CTX* const c = EVP_MD_CTX_new();
  bool is_good = c && EVP_DigestInit_ex(c, EVP_sha256(), nullptr) == 1 &&
                 EVP_DigestUpdate(c, bytes.data(), bytes.size()) == 1;
  for (const KeyPair& p : pairs)
    is_good = is_good && EVP_DigestUpdate(c, p.certificate.data(), p.certificate.size()) == 1 &&
              EVP_DigestUpdate(c, p.key.data(), p.key.size()) == 1;
  is_good =
      is_good && EVP_DigestFinal_ex(c, reinterpret_cast<unsigned char*>(digest.data()), &n) == 1;
  EVP_MD_CTX_free(c);
  digest.resize(is_good ? n : 0);
  return digest;
}

// The pair that another settings object of the same application has.
Result<KeyPair> pair_of(Host& host, uint32_t named, uint32_t number) {
  std::string bytes;
  const ClearedAtEnd cleared(bytes);
  KeyPair pair;
  bool has_certificate = false;
  if (host.endpoint_settings(named, number, &bytes) != Status::kOk)
    return error(Status::kNotFound, "there is no certificate " + std::to_string(number));
  (void)read_settings(bytes, [&](Setting type, std::string_view value) {
    if (type == Setting::kCertificate) {
      pair.certificate = certificates_of(value);
      has_certificate = true;
    }
    if (type == Setting::kPrivateKey) pair.key = value;
  });
  if (!has_certificate || pair.key.empty())
    return error(Status::kInvalid, "settings " + std::to_string(number) + " are no certificate");
  return pair;
}

}  // namespace

Result<std::vector<KeyPair>> read_own_pairs(const Config& config) {
  std::vector<KeyPair> pairs;
  for (std::size_t i = 0; i < config.certificates.size(); ++i) {
    auto certificate = read_file(config.certificates[i]);
    if (!certificate) return certificate.error();
    auto key = read_file(config.keys[i]);
    if (!key) return key.error();
    pairs.push_back({certificates_of(*certificate), std::move(*key)});
  }
  return pairs;
}

Result<Settings> settings_of(Host& host, uint32_t number) {
  Settings s;
  if (number == 0) return s;
  std::string bytes;
  const ClearedAtEnd cleared(bytes);
  if (host.endpoint_settings(number, number, &bytes) != Status::kOk)
    return error(Status::kNotFound, "there are no settings " + std::to_string(number));
  KeyPair own;
  std::vector<uint32_t> pairs;
  bool is_valid = true, has_certificate = false;
  is_valid &= read_settings(bytes, [&](Setting type, std::string_view value) {
    switch (type) {
      case Setting::kCertificate:
        own.certificate = certificates_of(value);
        has_certificate = true;
        break;
      case Setting::kPrivateKey:
        own.key = value;
        break;
      case Setting::kPair:
        is_valid &= value.size() == sizeof(uint32_t);
        pairs.push_back(number_setting(value));
        break;
      case Setting::kServerName:
        s.server_name = value;
        is_valid &= value.size() <= kMostName && value.find('\0') == value.npos;
        break;
      case Setting::kAlpn:
        s.alpn = value;
        is_valid &= is_protocol_list(value);
        break;
      case Setting::kVerify:
        is_valid &= value.size() == sizeof(uint32_t) &&
                    number_setting(value) <= static_cast<uint32_t>(Verify::kRequired);
        s.verify = static_cast<Verify>(number_setting(value));
        break;
      case Setting::kEarlyData:
        is_valid &= value.size() == sizeof(uint32_t) && number_setting(value) <= kMostEarlyData;
        s.early_data = number_setting(value);
        break;
      case Setting::kTrust:
        s.trust = value;
        break;
      case Setting::kProfile:
        s.profile = value;
        is_valid &= is_profile_name(value);
        break;
    }
  });
  if (!is_valid || pairs.size() > kMostPairs || has_certificate == own.key.empty())
    return error(Status::kInvalid, "settings " + std::to_string(number) + " make no sense");
  if (!own.key.empty()) s.pairs.push_back(std::move(own));
  std::size_t size = 0;  // a few bytes name much
  for (const uint32_t p : pairs) {
    auto pair = pair_of(host, number, p);
    if (!pair) return pair.error();
    size += pair->certificate.size() + pair->key.size();
    if (size > kMostPairsBytes)
      return error(Status::kInvalid, "the certificates of settings " + std::to_string(number) +
                                         " have more than a megabyte");
    s.pairs.push_back(std::move(*pair));
  }
  s.digest = digest_of(bytes, s.pairs);
  return s;
}

}  // namespace loom::tls
