#pragma once
// The low-level SHA-256 is marked as deprecated in OpenSSL 3, but EVP's one-shot fetches its algorithm at each call,
// which costs more than hashing a token does.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/crypto.h>
#include <openssl/sha.h>
