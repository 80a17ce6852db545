package pod

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/node/util/sysctl"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

// sharesUsers tells whether containers run with the host's user ids.
func sharesUsers(s *corev1.PodSpec) bool { return check.Deref(s.HostUsers, true) }

// hostUsers checks that a pod with users of its own shares nothing else with
// the host.
func hostUsers(l *check.List, s *corev1.PodSpec, path *field.Path) {
	if sharesUsers(s) {
		return
	}
	const refused = "when `hostUsers` is false"
	for _, shared := range []struct {
		name string
		set  bool
	}{{"hostNetwork", s.HostNetwork}, {"HostPID", s.HostPID}, {"HostIPC", s.HostIPC}} {
		if shared.set {
			l.Forbidden(path.Child(shared.name), refused)
		}
	}
	// What is in a block device cannot be given to other users.
	EachContainer(s, path, func(c *corev1.Container, at *field.Path) {
		if len(c.VolumeDevices) > 0 {
			l.Forbidden(at.Child("volumeDevices"), refused)
		}
	})
}

func securityContext(l *check.List, s *corev1.PodSpec, path *field.Path) {
	sc := s.SecurityContext
	if sc == nil {
		return
	}
	id := func(name string, id *int64, rule func(int64) []string) {
		if id != nil {
			l.Messages(path.Child(name), *id, rule(*id))
		}
	}
	id("fsGroup", sc.FSGroup, validation.IsValidGroupID)
	id("runAsUser", sc.RunAsUser, validation.IsValidUserID)
	id("runAsGroup", sc.RunAsGroup, validation.IsValidGroupID)
	for i, gid := range sc.SupplementalGroups {
		l.Messages(path.Child("supplementalGroups").Index(i), gid, validation.IsValidGroupID(gid))
	}
	sysctls(l, s, path.Child("sysctls"))
	if p := sc.FSGroupChangePolicy; p != nil {
		check.OneOf(l, path.Child("fsGroupChangePolicy"), *p, corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)
	}
	seccomp(l, sc.SeccompProfile, path.Child("seccompProfile"))
	windowsOptions(l, sc.WindowsOptions, path.Child("windowsOptions"))
	appArmor(l, sc.AppArmorProfile, path.Child("appArmorProfile"))
	if p := sc.SupplementalGroupsPolicy; p != nil {
		check.OneOf(l, path.Child("supplementalGroupsPolicy"), *p, corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)
	}
	if p := sc.SELinuxChangePolicy; p != nil {
		check.OneOf(l, path.Child("seLinuxChangePolicy"), *p, corev1.SELinuxChangePolicyMountOption, corev1.SELinuxChangePolicyRecursive)
	}
}

const sysctlMaxLength = 253

var sysctlName = regexp.MustCompile(`^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`)

func sysctls(l *check.List, s *corev1.PodSpec, path *field.Path) {
	names := sets.New[string]()
	for i, c := range s.SecurityContext.Sysctls {
		at := path.Index(i).Child("name")
		switch {
		case c.Name == "":
			l.Required(at, "")
		case len(c.Name) > sysctlMaxLength || !sysctlName.MatchString(c.Name):
			l.Invalid(at, c.Name, fmt.Sprintf("must have at most %d characters and match regex %s", sysctlMaxLength, sysctlName))
		case names.Has(c.Name):
			l.Duplicate(at, c.Name)
		}
		names.Insert(c.Name)
		switch ns, _, _ := sysctl.GetNamespace(c.Name); {
		case s.HostNetwork && ns == sysctl.NetNamespace:
			l.Invalid(at, c.Name, "may not be specified when 'hostNetwork' is true")
		case s.HostIPC && ns == sysctl.IPCNamespace:
			l.Invalid(at, c.Name, "may not be specified when 'hostIPC' is true")
		}
	}
}

func seccomp(l *check.List, p *corev1.SeccompProfile, path *field.Path) {
	if p == nil {
		return
	}
	if p.Type == "" {
		l.Required(path.Child("type"), "type is required when seccompProfile is set")
	} else {
		check.OneOf(l, path.Child("type"), p.Type, corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)
	}
	at := path.Child("localhostProfile")
	switch local := p.Type == corev1.SeccompProfileTypeLocalhost; {
	case local && p.LocalhostProfile == nil:
		l.Required(at, "must be set when seccomp type is Localhost")
	case local:
		l.DescendingPath(at, *p.LocalhostProfile)
	case p.LocalhostProfile != nil:
		l.Invalid(at, *p, "can only be set when seccomp type is Localhost")
	}
}

func appArmor(l *check.List, p *corev1.AppArmorProfile, path *field.Path) {
	if p == nil {
		return
	}
	const longest = 4095 // of a path
	at := path.Child("localhostProfile")
	switch p.Type {
	case corev1.AppArmorProfileTypeLocalhost:
		name := check.Deref(p.LocalhostProfile, "")
		trimmed := strings.TrimSpace(name)
		switch {
		case trimmed != name:
			l.Invalid(at, name, "must not be padded with whitespace")
		case name == "":
			l.Required(at, "must be set when AppArmor type is Localhost")
		}
		if len(name) > longest {
			l.Add(field.TooLong(at, "", longest))
		}
	case corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined:
		if p.LocalhostProfile != nil {
			l.Invalid(at, *p.LocalhostProfile, "can only be set when AppArmor type is Localhost")
		}
	case "":
		l.Required(path.Child("type"), "type is required when appArmorProfile is set")
	default:
		l.Add(field.NotSupported(path.Child("type"), p.Type, []corev1.AppArmorProfileType{
			corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined,
		}))
	}
}

func containerSecurity(l *check.List, sc *corev1.SecurityContext, hostUsers bool, path *field.Path) {
	if sc == nil {
		return
	}
	if id := sc.RunAsUser; id != nil {
		l.Messages(path.Child("runAsUser"), *id, validation.IsValidUserID(*id))
	}
	if id := sc.RunAsGroup; id != nil {
		l.Messages(path.Child("runAsGroup"), *id, validation.IsValidGroupID(*id))
	}
	if p := sc.ProcMount; p != nil {
		check.OneOf(l, path.Child("procMount"), *p, corev1.DefaultProcMount, corev1.UnmaskedProcMount)
		if hostUsers && *p == corev1.UnmaskedProcMount {
			l.Invalid(path.Child("procMount"), *p, "`hostUsers` must be false to use `Unmasked`")
		}
	}
	seccomp(l, sc.SeccompProfile, path.Child("seccompProfile"))
	if !check.Deref(sc.AllowPrivilegeEscalation, true) {
		if check.Deref(sc.Privileged, false) {
			l.Invalid(path, *sc, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
		}
		if sc.Capabilities != nil {
			for _, c := range sc.Capabilities.Add {
				if c == "CAP_SYS_ADMIN" {
					l.Invalid(path, *sc, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN")
				}
			}
		}
	}
	windowsOptions(l, sc.WindowsOptions, path.Child("windowsOptions"))
	appArmor(l, sc.AppArmorProfile, path.Child("appArmorProfile"))
}

// operatingSystem checks that a pod for one system sets nothing of the other's.
func operatingSystem(l *check.List, s *corev1.PodSpec, path *field.Path) {
	if s.OS == nil {
		return
	}
	switch s.OS.Name {
	case "":
		l.Required(path.Child("os", "name"), "")
	case corev1.Linux:
		const refused = "windows options cannot be set for a linux pod"
		if sc := s.SecurityContext; sc != nil && sc.WindowsOptions != nil {
			l.Forbidden(path.Child("securityContext", "windowsOptions"), refused)
		}
		EachContainer(s, path, func(c *corev1.Container, at *field.Path) {
			if sc := c.SecurityContext; sc != nil && sc.WindowsOptions != nil {
				l.Forbidden(at.Child("securityContext", "windowsOptions"), refused)
			}
		})
	case corev1.Windows:
		windowsPod(l, s, path)
	default:
		l.Add(field.NotSupported(path.Child("os"), s.OS.Name, []corev1.OSName{corev1.Linux, corev1.Windows}))
	}
}

// EachContainer visits the containers of all three lists.
func EachContainer(s *corev1.PodSpec, path *field.Path, visit func(*corev1.Container, *field.Path)) {
	for i := range s.InitContainers {
		visit(&s.InitContainers[i], path.Child("initContainers").Index(i))
	}
	for i := range s.Containers {
		visit(&s.Containers[i], path.Child("containers").Index(i))
	}
	for i := range s.EphemeralContainers {
		visit((*corev1.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon), path.Child("ephemeralContainers").Index(i))
	}
}
