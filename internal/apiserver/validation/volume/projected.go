package volume

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

func keysToPaths(l *check.List, items []corev1.KeyToPath, path *field.Path) {
	for i := range items {
		item, at := &items[i], path.Index(i)
		needed(l, at, "key", item.Key, "path", item.Path)
		l.VolumePath(at.Child("path"), item.Path)
		l.Mode(at.Child("mode"), item.Mode)
		owner(l, item.User, at.Child("user"))
	}
}

func downwardFile(l *check.List, f *corev1.DownwardAPIVolumeFile, path *field.Path) {
	needed(l, path, "path", f.Path)
	l.VolumePath(path.Child("path"), f.Path)
	switch {
	case f.FieldRef != nil:
		FieldRef(l, f.FieldRef, path.Child("fieldRef"),
			"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
		if f.ResourceFieldRef != nil {
			l.Invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
		}
	case f.ResourceFieldRef != nil:
		ResourceFieldRef(l, f.ResourceFieldRef, true, path.Child("resourceFieldRef"))
	default:
		l.Required(path, "one of fieldRef and resourceFieldRef is required")
	}
	l.Mode(path.Child("mode"), f.Mode)
	owner(l, f.User, path.Child("user"))
}

// owner checks the user that files in a volume belong to.
func owner(l *check.List, user *int64, path *field.Path) {
	if user != nil {
		l.Messages(path, *user, validation.IsValidUserID(*user))
	}
}

// projection gathers the paths that the sources of one volume write.
type projection struct {
	*check.List
	pod   Pod
	path  *field.Path // of the volume
	taken sets.Set[string]
}

func projected(l *check.List, s *corev1.ProjectedVolumeSource, p Pod, path *field.Path) {
	l.Mode(path.Child("defaultMode"), s.DefaultMode)
	owner(l, s.DefaultUser, path.Child("defaultUser"))
	pr := projection{List: l, pod: p, path: path, taken: sets.New[string]()}
	for i := range s.Sources {
		pr.source(&s.Sources[i], path.Child("sources").Index(i))
	}
}

// claim takes a path for the volume; value names the offender in the error.
func (p projection) claim(target, value string) {
	if p.taken.Has(target) {
		p.Invalid(p.path, value, "conflicting duplicate paths")
	}
	p.taken.Insert(target)
}

func (p projection) source(s *corev1.VolumeProjection, path *field.Path) {
	count := 0
	if s.Secret != nil {
		count++
		p.keys(s.Secret.Name, s.Secret.Items, path.Child("secret"))
	}
	if s.ConfigMap != nil {
		count++
		p.keys(s.ConfigMap.Name, s.ConfigMap.Items, path.Child("configMap"))
	}
	if s.DownwardAPI != nil {
		count++
		for i := range s.DownwardAPI.Items {
			f := &s.DownwardAPI.Items[i]
			downwardFile(p.List, f, path.Child("downwardAPI"))
			if f.Path != "" {
				p.claim(f.Path, f.Path)
			}
		}
	}
	if s.ServiceAccountToken != nil {
		count++
		p.token(s.ServiceAccountToken, path.Child("serviceAccountToken"))
	}
	if s.ClusterTrustBundle != nil {
		count++
		p.trustBundle(s.ClusterTrustBundle, path.Child("clusterTrustBundle"))
	}
	if s.PodCertificate != nil {
		count++
		p.certificate(s.PodCertificate, path.Child("podCertificate"))
	}
	if count > 1 {
		p.Forbidden(path, "may not specify more than 1 volume type per source")
	}
}

func (p projection) keys(name string, items []corev1.KeyToPath, path *field.Path) {
	needed(p.List, path, "name", name)
	keysToPaths(p.List, items, path.Child("items"))
	for i := range items {
		if items[i].Path != "" {
			p.claim(items[i].Path, name)
		}
	}
}

func (p projection) token(t *corev1.ServiceAccountTokenProjection, path *field.Path) {
	expiration := check.Deref(t.ExpirationSeconds, 60*60)
	if expiration < 10*60 {
		p.Invalid(path.Child("expirationSeconds"), expiration, "may not specify a duration less than 10 minutes")
	}
	if expiration > 1<<32 {
		p.Invalid(path.Child("expirationSeconds"), expiration, "may not specify a duration larger than 2^32 seconds")
	}
	if t.Path == "" {
		p.Required(p.path.Child("path"), "")
	} else if !p.pod.NonLocalTokens {
		p.VolumePath(p.path.Child("path"), t.Path)
	}
	owner(p.List, t.User, path.Child("user"))
}

func (p projection) trustBundle(b *corev1.ClusterTrustBundleProjection, path *field.Path) {
	switch {
	case b.Name != nil && b.SignerName != nil:
		p.Invalid(path, b, "only one of name and signerName may be used")
	case b.Name != nil:
		if *b.Name == "" {
			p.Required(path.Child("name"), "must be a valid object name")
		}
		for _, message := range trustBundleName(*b.Name) {
			p.Invalid(path.Child("name"), *b.Name, fmt.Sprintf("not a valid clustertrustbundlename: %v", message))
		}
		if b.LabelSelector != nil {
			p.Invalid(path.Child("labelSelector"), b.LabelSelector, "labelSelector must be unset if name is specified")
		}
	case b.SignerName != nil:
		if *b.SignerName == "" {
			p.Required(path.Child("signerName"), "must be a valid signer name")
		}
		p.Add(SignerName(*b.SignerName, path.Child("signerName"))...)
		p.Add(check.Selector(b.LabelSelector, false, path.Child("labelSelector"))...)
	default:
		p.Required(path, "either name or signerName must be specified")
	}
	needed(p.List, path, "path", b.Path)
	owner(p.List, b.User, path.Child("user"))
	p.VolumePath(path.Child("path"), b.Path)
	p.claim(b.Path, b.Path)
}

// trustBundleName checks a name that may begin with its signer's, written with
// colons for slashes.
func trustBundleName(name string) []string {
	if i := strings.LastIndex(name, ":"); i >= 0 {
		name = name[i+1:]
	}
	return apivalidation.NameIsDNSSubdomain(name, false)
}

func (p projection) certificate(c *corev1.PodCertificateProjection, path *field.Path) {
	p.Add(SignerName(c.SignerName, path.Child("signerName"))...)
	p.Add(UserAnnotations(c.UserAnnotations, path.Child("userAnnotations"))...)
	owner(p.List, c.User, path.Child("user"))
	check.OneOf(p.List, path.Child("keyType"), c.KeyType, "RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
	if s := c.MaxExpirationSeconds; s != nil {
		longest := int32(91 * 24 * 60 * 60)
		if KubernetesSigner(c.SignerName) {
			longest = 24 * 60 * 60
		}
		if *s < 60*60 {
			p.Invalid(path.Child("maxExpirationSeconds"), *s, "if provided, maxExpirationSeconds must be >= 3600")
		}
		if *s > longest {
			p.Invalid(path.Child("maxExpirationSeconds"), *s, fmt.Sprintf("if provided, maxExpirationSeconds must be <= %d", longest))
		}
	}
	if c.CredentialBundlePath == "" && c.KeyPath == "" && c.CertificateChainPath == "" {
		p.Required(path, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath")
	}
	for _, f := range []struct{ name, target string }{
		{"credentialBundlePath", c.CredentialBundlePath}, {"keyPath", c.KeyPath}, {"certificateChainPath", c.CertificateChainPath},
	} {
		if f.target != "" {
			p.VolumePath(path.Child(f.name), f.target)
			p.claim(f.target, f.target)
		}
	}
}

// UserAnnotations checks what a pod tells the signer: keys with a domain.
func UserAnnotations(a map[string]string, path *field.Path) field.ErrorList {
	var l check.List
	for _, key := range check.Keys(a) {
		l.Add(validation.IsDomainPrefixedKey(path, strings.ToLower(key))...)
	}
	if err := apivalidation.ValidateAnnotationsSize(a); err != nil {
		l.Add(field.TooLong(path, "", apivalidation.TotalAnnotationSizeLimitB))
	}
	return l.Errors
}

// KubernetesSigner tells the names that belong to the project.
func KubernetesSigner(name string) bool {
	domain, _, _ := strings.Cut(name, "/")
	return domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io")
}

// SignerName checks the name of a certificate signer, "example.com/name".
func SignerName(name string, path *field.Path) field.ErrorList {
	var l check.List
	const longestDomain, longest = 253, 253 + 1 + 63 + 1 + 253
	parts := strings.Split(name, "/")
	switch {
	case name == "":
		l.Required(path, "")
		return l.Errors
	case len(parts) != 2:
		l.Invalid(path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
		return l.Errors
	case len(parts[0]) > longestDomain:
		l.Add(field.TooLong(path, "", longestDomain))
	}
	labels(&l, parts[0], validation.IsDNS1123Label, path)
	if !strings.Contains(parts[0], ".") {
		l.Invalid(path, parts[0], "should be a domain with at least two segments separated by dots")
	}
	labels(&l, parts[1], validation.IsDNS1123Subdomain, path)
	if len(name) > longest {
		l.Add(field.TooLong(path, "", longest))
	}
	return l.Errors
}

// labels checks the labels of one part of a signer's name, up to the first bad one.
func labels(l *check.List, part string, rule func(string) []string, path *field.Path) {
	for label := range strings.SplitSeq(part, ".") {
		messages := rule(label)
		for _, m := range messages {
			l.Invalid(path, part, fmt.Sprintf("validating label %q: %s", label, m))
		}
		if len(messages) > 0 {
			return
		}
	}
}

// FieldRef checks a reference to a field of the pod, one of allowed or, with a
// subscript, a label or an annotation.
func FieldRef(l *check.List, ref *corev1.ObjectFieldSelector, path *field.Path, allowed ...string) {
	if ref.APIVersion == "" {
		l.Required(path.Child("apiVersion"), "")
		return
	}
	at := path.Child("fieldPath")
	if ref.FieldPath == "" {
		l.Required(at, "")
		return
	}
	if ref.APIVersion != "v1" {
		l.Invalid(at, ref.FieldPath, fmt.Sprintf("error converting fieldPath: unsupported pod version: %s", ref.APIVersion))
		return
	}
	fieldPath, subscript, subscripted := splitSubscript(ref.FieldPath)
	if !subscripted && fieldPath == "spec.host" {
		fieldPath = "spec.nodeName" // its name before v1
	}
	known := append([]string{
		"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid",
		"spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName", "spec.schedulerName",
		"status.phase", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
	}, allowed...)
	switch {
	case subscripted && fieldPath == "metadata.annotations":
		l.QualifiedName(path, strings.ToLower(subscript))
	case subscripted && fieldPath == "metadata.labels":
		l.QualifiedName(path, subscript)
	case subscripted:
		l.Invalid(at, ref.FieldPath, fmt.Sprintf("error converting fieldPath: field label does not support subscript: %s", ref.FieldPath))
	case !slices.Contains(known, fieldPath):
		l.Invalid(at, ref.FieldPath, fmt.Sprintf("error converting fieldPath: field label not supported: %s", ref.FieldPath))
	case !slices.Contains(allowed, fieldPath):
		l.Add(field.NotSupported(at, fieldPath, allowed))
	}
}

// splitSubscript takes "path['key']" apart.
func splitSubscript(fieldPath string) (path, subscript string, ok bool) {
	rest, ok := strings.CutSuffix(fieldPath, "']")
	if !ok {
		return fieldPath, "", false
	}
	path, subscript, ok = strings.Cut(rest, "['")
	if !ok || path == "" {
		return fieldPath, "", false
	}
	return path, subscript, true
}

// ResourceFieldRef checks a reference to a container's resource; in a volume
// the container has to be named.
func ResourceFieldRef(l *check.List, ref *corev1.ResourceFieldSelector, inVolume bool, path *field.Path) {
	allowed := []string{"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"}
	hugePages := strings.HasPrefix(ref.Resource, "requests.hugepages-") || strings.HasPrefix(ref.Resource, "limits.hugepages-")
	switch {
	case inVolume && ref.ContainerName == "":
		l.Required(path.Child("containerName"), "")
	case ref.Resource == "":
		l.Required(path.Child("resource"), "")
	case !hugePages && !slices.Contains(allowed, ref.Resource):
		l.Add(field.NotSupported(path.Child("resource"), ref.Resource, allowed))
	}
	if ref.Divisor.IsZero() {
		return
	}
	const units = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei"
	_, kind, _ := strings.Cut(ref.Resource, ".")
	divisors, what := strings.Split(units, ", "), map[string]string{"memory": "memory", "ephemeral-storage": "local ephemeral storage"}[kind]
	if hugePages {
		what = "hugepages"
	}
	detail := fmt.Sprintf("only divisor's values %s are supported with the %s resource", units, what)
	if kind == "cpu" {
		divisors, detail = []string{"1m", "1"}, "only divisor's values 1m and 1 are supported with the cpu resource"
	} else if what == "" {
		return
	}
	if !slices.Contains(divisors, ref.Divisor.String()) {
		l.Invalid(path.Child("divisor"), ref.Resource, detail)
	}
}
