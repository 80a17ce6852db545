package serviceaccount

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/go-jose/go-jose/v4"
)

// Keys are the keys of one cluster: the one that signs, and all that prove. They
// can be replaced while they are used.
type Keys struct{ current atomic.Pointer[keySet] }

// keySet is one state of the keys; it never changes.
type keySet struct {
	signer jose.Signer
	public []jose.JSONWebKey // the signing key's first
}

// NewKeys returns keys that sign with signing. Tokens that one of the retired
// keys signed are still proved, so that a key can be replaced without ending
// every session.
func NewKeys(signing crypto.Signer, retired ...crypto.PublicKey) (*Keys, error) {
	own, err := webKey(signing.Public())
	if err != nil {
		return nil, fmt.Errorf("service account signing key: %w", err)
	}
	private := jose.JSONWebKey{Key: signing, KeyID: own.KeyID, Algorithm: own.Algorithm, Use: own.Use}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(own.Algorithm), Key: private}, nil)
	if err != nil {
		return nil, fmt.Errorf("service account signing key: %w", err)
	}
	set := &keySet{signer: signer, public: []jose.JSONWebKey{own}}
	for _, r := range retired {
		key, err := webKey(r)
		if err != nil {
			return nil, fmt.Errorf("retired service account key: %w", err)
		}
		if !slices.ContainsFunc(set.public, func(have jose.JSONWebKey) bool { return have.KeyID == key.KeyID }) {
			set.public = append(set.public, key)
		}
	}
	k := &Keys{}
	k.current.Store(set)
	return k, nil
}

// Replace makes k the same as other, and says whether they differed.
func (k *Keys) Replace(other *Keys) bool {
	set := other.current.Load()
	before := k.current.Swap(set)
	return !slices.EqualFunc(before.public, set.public, func(a, b jose.JSONWebKey) bool { return a.KeyID == b.KeyID })
}

func (k *Keys) signer() jose.Signer       { return k.current.Load().signer }
func (k *Keys) public() []jose.JSONWebKey { return k.current.Load().public }

// webKey describes a public key as relying parties know it. The key id is a
// hash, so that it cannot be mistaken for the key.
func webKey(key crypto.PublicKey) (jose.JSONWebKey, error) {
	alg, err := algorithm(key)
	if err != nil {
		return jose.JSONWebKey{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return jose.JSONWebKey{}, fmt.Errorf("encode public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return jose.JSONWebKey{
		Key:       key,
		KeyID:     base64.RawURLEncoding.EncodeToString(sum[:]),
		Algorithm: string(alg),
		Use:       "sig",
	}, nil
}

func algorithm(key crypto.PublicKey) (jose.SignatureAlgorithm, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return jose.RS256, nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return jose.ES256, nil
		case elliptic.P384():
			return jose.ES384, nil
		case elliptic.P521():
			return jose.ES512, nil
		}
		return "", fmt.Errorf("unsupported curve %s: use P-256, P-384 or P-521", k.Curve.Params().Name)
	}
	return "", fmt.Errorf("unsupported key type %T: use RSA or ECDSA", key)
}

// algorithms are the only ones that a token may claim for itself; "none" and
// the symmetric ones are never among them.
func (k *Keys) algorithms() []jose.SignatureAlgorithm {
	var out []jose.SignatureAlgorithm
	for _, key := range k.public() {
		if alg := jose.SignatureAlgorithm(key.Algorithm); !slices.Contains(out, alg) {
			out = append(out, alg)
		}
	}
	return out
}

// candidates are the keys that may have signed a token with this key id.
func (k *Keys) candidates(keyID string) []jose.JSONWebKey {
	public := k.public()
	if keyID == "" {
		return public
	}
	i := slices.IndexFunc(public, func(key jose.JSONWebKey) bool { return key.KeyID == keyID })
	if i < 0 {
		return nil
	}
	return public[i : i+1]
}
