package images

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// defaultRegistry is the name under which credentials for Docker Hub are kept.
const defaultRegistry = "index.docker.io"

// credential is what opens the registries that a pattern matches.
type credential struct {
	pattern string // host, may hold * in its labels, with port and path
	auth    *cri.AuthConfig
}

// Keyring holds credentials, the most specific pattern first.
type Keyring []credential

type dockerEntry struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	Auth          string `json:"auth,omitempty"`
	IdentityToken string `json:"identitytoken,omitempty"`
	RegistryToken string `json:"registrytoken,omitempty"`
}

// ReadSecrets makes a Keyring of secrets of the docker config kinds. Of a secret
// that cannot be read the error says why; the others count all the same.
func ReadSecrets(secrets []*corev1.Secret) (Keyring, error) {
	var ring Keyring
	var problems []error
	for _, secret := range secrets {
		var entries map[string]dockerEntry
		var err error
		switch secret.Type {
		case corev1.SecretTypeDockerConfigJson:
			entries, err = parseDockerConfigJSON(secret.Data[corev1.DockerConfigJsonKey])
		case corev1.SecretTypeDockercfg:
			err = json.Unmarshal(secret.Data[corev1.DockerConfigKey], &entries)
		default:
			continue
		}
		if err != nil {
			// A parser's words may quote the secret.
			problems = append(problems, fmt.Errorf("pull secret %s/%s does not hold a docker config", secret.Namespace, secret.Name))
			continue
		}
		for registry, entry := range entries {
			if c, ok := entry.credential(registry); ok {
				ring = append(ring, c)
			}
		}
	}
	slices.SortStableFunc(ring, func(a, b credential) int { return cmp.Compare(b.pattern, a.pattern) })
	return ring, errors.Join(problems...)
}

// parseDockerConfigJSON parses {"auths": {"registry": {...}}}.
func parseDockerConfigJSON(data []byte) (map[string]dockerEntry, error) {
	var config struct {
		Auths map[string]dockerEntry `json:"auths"`
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, err
	}
	return config.Auths, nil
}

// credential reads an entry. Its auth, when there is one, wins over the name
// and password beside it.
func (e dockerEntry) credential(registry string) (credential, bool) {
	pattern, ok := parsePattern(registry)
	if !ok {
		return credential{}, false
	}
	auth := &cri.AuthConfig{
		Username: e.Username, Password: e.Password,
		IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken,
	}
	if e.Auth != "" {
		text, err := base64.StdEncoding.DecodeString(e.Auth)
		if err != nil {
			text, err = base64.RawStdEncoding.DecodeString(e.Auth)
		}
		user, password, found := strings.Cut(string(text), ":")
		if err != nil || !found {
			return credential{}, false
		}
		auth.Username, auth.Password = user, password
	}
	return credential{pattern: pattern, auth: auth}, true
}

// parsePattern takes scheme and API version off a registry's name.
func parsePattern(registry string) (string, bool) {
	if !strings.HasPrefix(registry, "https://") && !strings.HasPrefix(registry, "http://") {
		registry = "https://" + registry
	}
	parsed, err := url.Parse(registry)
	if err != nil || parsed.Host == "" {
		return "", false
	}
	rest := parsed.Path
	if strings.HasPrefix(rest, "/v1/") || strings.HasPrefix(rest, "/v2/") {
		rest = rest[3:]
	}
	return parsed.Host + strings.TrimSuffix(rest, "/"), true
}

// Lookup returns the credentials for a repository, the most specific first.
func (k Keyring) Lookup(repo string) []*cri.AuthConfig {
	var found []*cri.AuthConfig
	for _, c := range k {
		if match(c.pattern, repo) {
			found = append(found, c.auth)
		}
	}
	if rest, ok := strings.CutPrefix(repo, "docker.io/"); ok {
		for _, c := range k {
			if match(c.pattern, defaultRegistry+"/"+rest) {
				found = append(found, c.auth)
			}
		}
	}
	return found
}

// match compares label by label: *.example.com opens a.example.com and neither
// example.com nor a.b.example.com.
func match(pattern, repo string) bool {
	patternHost, patternPath, _ := strings.Cut(pattern, "/")
	repoHost, repoPath, _ := strings.Cut(repo, "/")
	if !strings.HasPrefix(repoPath, patternPath) {
		return false
	}
	patternName, patternPort, _ := strings.Cut(patternHost, ":")
	repoName, repoPort, _ := strings.Cut(repoHost, ":")
	globs, labels := strings.Split(patternName, "."), strings.Split(repoName, ".")
	if patternPort != repoPort || len(globs) != len(labels) {
		return false
	}
	for i, glob := range globs {
		if ok, err := path.Match(glob, labels[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// hash tells credentials apart without keeping them.
func hash(auth *cri.AuthConfig) string {
	sum := sha256.New()
	for _, part := range []string{auth.Username, auth.Password, auth.IdentityToken, auth.RegistryToken} {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
