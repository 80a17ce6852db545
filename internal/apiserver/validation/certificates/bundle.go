package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
	"github.com/sinawi/sinawi/internal/apiserver/validation/volume"
)

// ClusterTrustBundle checks a new bundle.
func ClusterTrustBundle(b *certificatesv1.ClusterTrustBundle) field.ErrorList {
	return clusterTrustBundle(b, true)
}

// ClusterTrustBundleUpdate checks a changed bundle; anchors that stay are not
// read again.
func ClusterTrustBundleUpdate(b, old *certificatesv1.ClusterTrustBundle) field.ErrorList {
	return rule.All(clusterTrustBundle(b, b.Spec.TrustBundle != old.Spec.TrustBundle), rule.MetaUpdate(&b.ObjectMeta, &old.ObjectMeta),
		rule.Immutable(b.Spec.SignerName, old.Spec.SignerName, field.NewPath("spec", "signerName")))
}

func clusterTrustBundle(b *certificatesv1.ClusterTrustBundle, read bool) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&b.ObjectMeta, bundleName(b.Spec.SignerName))}
	if b.Spec.SignerName != "" {
		l.Add(volume.SignerName(b.Spec.SignerName, field.NewPath("spec", "signerName"))...)
	}
	if read {
		anchors(&l, b.Spec.TrustBundle, field.NewPath("spec", "trustBundle"))
	}
	return l.Errors
}

// bundleName is the rule that a signer's bundles are named after the signer.
func bundleName(signer string) apivalidation.ValidateNameFunc {
	return func(name string, prefix bool) []string {
		if signer == "" {
			if strings.Contains(name, ":") {
				return []string{"ClusterTrustBundle without signer name must not have \":\" in its name"}
			}
			return apivalidation.NameIsDNSSubdomain(name, prefix)
		}
		want := strings.ReplaceAll(signer, "/", ":") + ":"
		rest, found := strings.CutPrefix(name, want)
		if !found {
			return []string{fmt.Sprintf("ClusterTrustBundle for signerName %s must be named with prefix %s", signer, want)}
		}
		return apivalidation.NameIsDNSSubdomain(rest, prefix)
	}
}

// anchors checks that text is nothing but certificates of authorities, each
// once.
func anchors(l *check.List, text string, path *field.Path) {
	refuse := func(detail string) { l.Invalid(path, "<value omitted>", detail) }
	const most = 1 << 20
	if len(text) > most {
		l.Add(field.TooLong(path, "", most))
		return
	}
	before := len(l.Errors)
	at := map[string][]int{}
	rest := []byte(text)
	for i := 0; ; i++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if fault := anchorFault(block); fault != "" {
			refuse(fmt.Sprintf("entry %d %s", i, fault))
			continue
		}
		at[string(block.Bytes)] = append(at[string(block.Bytes)], i)
	}
	if len(l.Errors) > before {
		return
	}
	if len(at) == 0 {
		refuse("at least one trust anchor must be provided")
	}
	var twice [][]int
	for _, indices := range at {
		if len(indices) > 1 {
			twice = append(twice, indices)
		}
	}
	slices.SortFunc(twice, func(a, b []int) int { return a[0] - b[0] })
	for _, indices := range twice {
		refuse(fmt.Sprintf("duplicate trust anchor (indices %v)", indices))
	}
}

func anchorFault(block *pem.Block) string {
	if block.Type != "CERTIFICATE" {
		return "has bad block type: " + block.Type
	}
	if len(block.Headers) != 0 {
		return "has PEM block headers"
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
		return "does not parse as X.509"
	case !certificate.IsCA:
		return "does not have the CA bit set"
	case !certificate.BasicConstraintsValid:
		return "has invalid basic constraints"
	}
	return ""
}
