package pod

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

// windowsOptions are of no use here, and kept well-formed for clusters that
// the objects may move to.
func windowsOptions(l *check.List, o *corev1.WindowsSecurityContextOptions, path *field.Path) {
	if o == nil {
		return
	}
	const maxSpec = 64
	if n := o.GMSACredentialSpecName; n != nil {
		l.Subdomain(path.Child("gmsaCredentialSpecName"), *n)
	}
	if s := o.GMSACredentialSpec; s != nil {
		if *s == "" {
			l.Invalid(path.Child("gmsaCredentialSpec"), *s, "gmsaCredentialSpec cannot be an empty string")
		} else if len(*s) > maxSpec*1024 {
			l.Invalid(path.Child("gmsaCredentialSpec"), *s, fmt.Sprintf("gmsaCredentialSpec size must be under %d KiB", maxSpec))
		}
	}
	if o.RunAsUserName != nil {
		windowsUser(l, *o.RunAsUserName, path.Child("runAsUserName"))
	}
}

// What names of users and of their domains may look like.
var (
	controls      = regexp.MustCompile(`[[:cntrl:]]+`)
	netBIOSName   = regexp.MustCompile(`^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$`)
	domainName    = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)
	noUserLetters = regexp.MustCompile(`["/\\:;|=,\+\*\?<>@\[\]]`)
	dotsAndSpaces = regexp.MustCompile(`^[\. ]+$`)
)

// windowsUser checks a user, with or without a domain: DOMAIN\USER.
func windowsUser(l *check.List, name string, path *field.Path) {
	const maxDomain, maxUser = 256, 104
	domain, user, hasDomain := strings.Cut(name, `\`)
	switch {
	case name == "":
		l.Invalid(path, name, "runAsUserName cannot be an empty string")
		return
	case controls.MatchString(name):
		l.Invalid(path, name, "runAsUserName cannot contain control characters")
		return
	case strings.Contains(user, `\`):
		l.Invalid(path, name, "runAsUserName cannot contain more than one backslash")
		return
	case !hasDomain:
		domain, user = "", name
	}
	if len(domain) >= maxDomain {
		l.Invalid(path, name, fmt.Sprintf("runAsUserName's Domain length must be under %d characters", maxDomain))
	}
	if hasDomain && !netBIOSName.MatchString(domain) && !domainName.MatchString(domain) {
		l.Invalid(path, name, "runAsUserName's Domain doesn't match the NetBios nor the DNS format")
	}
	if user == "" {
		l.Invalid(path, name, "runAsUserName's User cannot be empty")
	} else if len(user) > maxUser {
		l.Invalid(path, name, fmt.Sprintf("runAsUserName's User length must not be longer than %d characters", maxUser))
	}
	if dotsAndSpaces.MatchString(user) {
		l.Invalid(path, name, "runAsUserName's User cannot contain only periods or spaces")
	}
	if noUserLetters.MatchString(user) {
		l.Invalid(path, name, `runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]`)
	}
}

// hostProcess checks that containers that run as processes of a Windows host
// are among themselves, and use the host's network.
func hostProcess(l *check.List, s *corev1.PodSpec, path *field.Path) {
	var all *bool
	if sc := s.SecurityContext; sc != nil && sc.WindowsOptions != nil {
		all = sc.WindowsOptions.HostProcess
	}
	containers, ofHost := 0, 0
	EachContainer(s, path, func(c *corev1.Container, at *field.Path) {
		containers++
		own := all
		if sc := c.SecurityContext; sc != nil && sc.WindowsOptions != nil && sc.WindowsOptions.HostProcess != nil {
			own = sc.WindowsOptions.HostProcess
			if all != nil && *all != *own {
				l.Invalid(at.Child("securityContext", "windowsOptions", "hostProcess"), *own,
					fmt.Sprintf("pod hostProcess value must be identical if both are specified, was %v", *all))
			}
		}
		if check.Deref(own, false) {
			ofHost++
		}
	})
	if ofHost == 0 {
		return
	}
	if ofHost != containers {
		l.Invalid(path, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers")
	}
	if !s.HostNetwork {
		l.Invalid(path.Child("hostNetwork"), s.HostNetwork, "hostNetwork must be true if pod contains any hostProcess containers")
	}
}

func windowsPod(l *check.List, s *corev1.PodSpec, path *field.Path) {
	const refused = "cannot be set for a windows pod"
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"hostUsers", s.HostUsers != nil}, {"hostPID", s.HostPID}, {"hostIPC", s.HostIPC}, {"shareProcessNamespace", s.ShareProcessNamespace != nil},
	} {
		if f.set {
			l.Forbidden(path.Child(f.name), refused)
		}
	}
	if sc := s.SecurityContext; sc != nil {
		at := path.Child("securityContext")
		for _, f := range []struct {
			name string
			set  bool
		}{
			{"appArmorProfile", sc.AppArmorProfile != nil}, {"seLinuxOptions", sc.SELinuxOptions != nil},
			{"seccompProfile", sc.SeccompProfile != nil}, {"fsGroup", sc.FSGroup != nil},
			{"fsGroupChangePolicy", sc.FSGroupChangePolicy != nil}, {"sysctls", len(sc.Sysctls) > 0},
			{"runAsUser", sc.RunAsUser != nil}, {"runAsGroup", sc.RunAsGroup != nil},
			{"supplementalGroups", sc.SupplementalGroups != nil}, {"supplementalGroupsPolicy", sc.SupplementalGroupsPolicy != nil},
			{"seLinuxChangePolicy", sc.SELinuxChangePolicy != nil},
		} {
			if f.set {
				l.Forbidden(at.Child(f.name), refused)
			}
		}
	}
	EachContainer(s, path, func(c *corev1.Container, at *field.Path) {
		if c.SecurityContext != nil {
			windowsContainer(l, c.SecurityContext, refused, at.Child("securityContext"))
		}
	})
}

func windowsContainer(l *check.List, sc *corev1.SecurityContext, refused string, path *field.Path) {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"appArmorProfile", sc.AppArmorProfile != nil}, {"seLinuxOptions", sc.SELinuxOptions != nil},
		{"seccompProfile", sc.SeccompProfile != nil}, {"capabilities", sc.Capabilities != nil},
		{"readOnlyRootFilesystem", sc.ReadOnlyRootFilesystem != nil}, {"privileged", sc.Privileged != nil},
		{"allowPrivilegeEscalation", sc.AllowPrivilegeEscalation != nil}, {"procMount", sc.ProcMount != nil},
		{"runAsUser", sc.RunAsUser != nil}, {"runAsGroup", sc.RunAsGroup != nil},
	} {
		if f.set {
			l.Forbidden(path.Child(f.name), refused)
		}
	}
}
