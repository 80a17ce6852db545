package rbac

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Allows says whether one of the rules allows the request.
func Allows(attrs authorizer.Attributes, rules ...rbacv1.PolicyRule) bool {
	for i := range rules {
		if allows(attrs, &rules[i]) {
			return true
		}
	}
	return false
}

func allows(attrs authorizer.Attributes, r *rbacv1.PolicyRule) bool {
	if !hasOrAll(r.Verbs, attrs.GetVerb()) {
		return false
	}
	if !attrs.IsResourceRequest() {
		return coversPath(r.NonResourceURLs, attrs.GetPath())
	}
	return hasOrAll(r.APIGroups, attrs.GetAPIGroup()) &&
		coversResource(r.Resources, attrs.GetResource(), attrs.GetSubresource()) &&
		(len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, attrs.GetName()))
}

func hasOrAll(set []string, s string) bool {
	for _, e := range set {
		if e == "*" || e == s {
			return true
		}
	}
	return false
}

// coversResource matches "pods", "pods/log", "*/scale" and "*".
func coversResource(set []string, resource, sub string) bool {
	for _, e := range set {
		if e == rbacv1.ResourceAll {
			return true
		}
		parent, child, _ := strings.Cut(e, "/")
		if child == sub && (parent == resource || parent == "*" && sub != "") {
			return true
		}
	}
	return false
}

// coversPath matches a path, or all below one that ends in a star.
func coversPath(set []string, path string) bool {
	for _, e := range set {
		if e == rbacv1.NonResourceAll || e == path {
			return true
		}
		if strings.HasSuffix(e, "*") && strings.HasPrefix(path, strings.TrimRight(e, "*")) {
			return true
		}
	}
	return false
}

// describe writes a rule on one line for an error message.
func describe(r rbacv1.PolicyRule) string {
	var parts []string
	for _, f := range []struct {
		name   string
		values []string
	}{
		{"APIGroups", r.APIGroups}, {"Resources", r.Resources}, {"NonResourceURLs", r.NonResourceURLs},
		{"ResourceNames", r.ResourceNames}, {"Verbs", r.Verbs},
	} {
		if len(f.values) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", f.name, f.values))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// compact joins rules that differ in their verbs alone. Rules are expected to
// be broken down to one group and one resource each; others stay as they are.
func compact(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	type target struct{ group, resource, name string }
	at := map[target]int{}
	var out []rbacv1.PolicyRule
	for _, r := range rules {
		if len(r.APIGroups) != 1 || len(r.Resources) != 1 || len(r.ResourceNames) > 1 || len(r.NonResourceURLs) > 0 {
			out = append(out, r)
			continue
		}
		t := target{group: r.APIGroups[0], resource: r.Resources[0]}
		if len(r.ResourceNames) == 1 {
			t.name = "/" + r.ResourceNames[0] // told apart from no name at all
		}
		if i, ok := at[t]; ok {
			out[i].Verbs = append(slices.Clone(out[i].Verbs), r.Verbs...)
			continue
		}
		at[t] = len(out)
		out = append(out, r)
	}
	return out
}
