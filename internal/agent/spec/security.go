package spec

import (
	"fmt"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Paths of /proc that containers neither see nor change, unless unmasked.
func maskedPaths() []string {
	return []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
		"/sys/devices/virtual/powercap",
	}
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// ImageUser is whom an image's processes run as.
type ImageUser struct {
	UID  *int64
	Name string
}

// NeedsImageUser says whether a container can be translated only by knowing whom
// its image runs as.
func NeedsImageUser(pod *corev1.Pod, c *corev1.Container) bool {
	sc := Effective(pod, c)
	return sc.RunAsUser == nil && (yes(sc.RunAsNonRoot) || sc.RunAsGroup != nil)
}

// Effective is a container's security context with what the pod says for all.
func Effective(pod *corev1.Pod, c *corev1.Container) *corev1.SecurityContext {
	out := &corev1.SecurityContext{}
	if c.SecurityContext != nil {
		out = c.SecurityContext.DeepCopy()
	}
	all := pod.Spec.SecurityContext
	if all == nil {
		return out
	}
	if out.RunAsUser == nil {
		out.RunAsUser = all.RunAsUser
	}
	if out.RunAsGroup == nil {
		out.RunAsGroup = all.RunAsGroup
	}
	if out.RunAsNonRoot == nil {
		out.RunAsNonRoot = all.RunAsNonRoot
	}
	if out.SELinuxOptions == nil {
		out.SELinuxOptions = all.SELinuxOptions
	}
	if out.SeccompProfile == nil {
		out.SeccompProfile = all.SeccompProfile
	}
	if out.AppArmorProfile == nil {
		out.AppArmorProfile = all.AppArmorProfile
	}
	return out
}

// checkNonRoot refuses a container that would run as root though it must not.
func checkNonRoot(pod *corev1.Pod, c *corev1.Container, sc *corev1.SecurityContext, image ImageUser) error {
	if !yes(sc.RunAsNonRoot) {
		return nil
	}
	place := fmt.Sprintf(" (pod: %q, container: %s)", pod.Name+"_"+pod.Namespace+"("+string(pod.UID)+")", c.Name)
	switch {
	case sc.RunAsUser != nil && *sc.RunAsUser == 0:
		return fmt.Errorf("container's runAsUser breaks non-root policy%s", place)
	case sc.RunAsUser != nil:
		return nil
	case image.UID != nil && *image.UID == 0, image.UID == nil && image.Name == "":
		return fmt.Errorf("container has runAsNonRoot and image will run as root%s", place)
	case image.UID == nil:
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root%s", image.Name, place)
	}
	return nil
}

func (in ContainerInput) security() (*cri.LinuxContainerSecurityContext, error) {
	sc := Effective(in.Pod, in.Container)
	if err := checkNonRoot(in.Pod, in.Container, sc, in.ImageUser); err != nil {
		return nil, err
	}
	out := &cri.LinuxContainerSecurityContext{
		NamespaceOptions: namespaces(in.Pod, in.TargetID),
		Privileged:       yes(sc.Privileged),
		ReadonlyRootfs:   yes(sc.ReadOnlyRootFilesystem),
		NoNewPrivs:       sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation,
		RunAsUser:        int64Value(sc.RunAsUser),
		RunAsGroup:       int64Value(sc.RunAsGroup),
		SelinuxOptions:   selinux(sc.SELinuxOptions),
		MaskedPaths:      maskedPaths(),
		ReadonlyPaths:    readonlyPaths(),
		Apparmor:         appArmor(sc.AppArmorProfile),
	}
	if out.RunAsUser == nil && sc.RunAsGroup != nil {
		// A runtime takes a group only with a user.
		if in.ImageUser.UID == nil && in.ImageUser.Name != "" {
			out.RunAsUsername = in.ImageUser.Name
		} else if out.RunAsUser = int64Value(in.ImageUser.UID); out.RunAsUser == nil {
			out.RunAsUser = &cri.Int64Value{}
		}
	}
	if caps := sc.Capabilities; caps != nil {
		out.Capabilities = &cri.Capability{}
		for _, name := range caps.Add {
			out.Capabilities.AddCapabilities = append(out.Capabilities.AddCapabilities, string(name))
		}
		for _, name := range caps.Drop {
			out.Capabilities.DropCapabilities = append(out.Capabilities.DropCapabilities, string(name))
		}
	}
	if sc.ProcMount != nil && *sc.ProcMount == corev1.UnmaskedProcMount {
		out.MaskedPaths, out.ReadonlyPaths = []string{}, []string{}
	}
	if all := in.Pod.Spec.SecurityContext; all != nil {
		out.SupplementalGroups = groups(all)
		out.SupplementalGroupsPolicy = groupsPolicy(all)
	}
	var err error
	out.Seccomp, err = seccomp(sc.SeccompProfile, in.Node.SeccompDir)
	return out, err
}

func groups(sc *corev1.PodSecurityContext) []int64 {
	out := append([]int64(nil), sc.SupplementalGroups...)
	if sc.FSGroup != nil {
		out = append(out, *sc.FSGroup)
	}
	return out
}

func groupsPolicy(sc *corev1.PodSecurityContext) cri.SupplementalGroupsPolicy {
	if sc.SupplementalGroupsPolicy != nil && *sc.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict {
		return cri.SupplementalGroupsPolicy_Strict
	}
	return cri.SupplementalGroupsPolicy_Merge
}

func selinux(in *corev1.SELinuxOptions) *cri.SELinuxOption {
	if in == nil {
		return nil
	}
	return &cri.SELinuxOption{User: in.User, Role: in.Role, Type: in.Type, Level: in.Level}
}

func seccomp(in *corev1.SeccompProfile, dir string) (*cri.SecurityProfile, error) {
	if in == nil {
		return &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Unconfined}, nil
	}
	switch in.Type {
	case corev1.SeccompProfileTypeRuntimeDefault:
		return &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault}, nil
	case corev1.SeccompProfileTypeLocalhost:
		if in.LocalhostProfile == nil || *in.LocalhostProfile == "" {
			return nil, fmt.Errorf("localhostProfile must be set if seccompProfile type is Localhost")
		}
		return &cri.SecurityProfile{
			ProfileType:  cri.SecurityProfile_Localhost,
			LocalhostRef: filepath.Join(dir, filepath.Clean("/"+*in.LocalhostProfile)),
		}, nil
	}
	return &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Unconfined}, nil
}

func appArmor(in *corev1.AppArmorProfile) *cri.SecurityProfile {
	if in == nil {
		return nil
	}
	switch in.Type {
	case corev1.AppArmorProfileTypeUnconfined:
		return &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Unconfined}
	case corev1.AppArmorProfileTypeLocalhost:
		out := &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Localhost}
		if in.LocalhostProfile != nil {
			out.LocalhostRef = *in.LocalhostProfile
		}
		return out
	}
	return &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault}
}

// ParseImageUser reads the user out of an image's status.
func ParseImageUser(image *cri.Image) ImageUser {
	if image.GetUid() != nil {
		return ImageUser{UID: &image.Uid.Value}
	}
	if uid, err := strconv.ParseInt(image.GetUsername(), 10, 64); err == nil {
		return ImageUser{UID: &uid}
	}
	return ImageUser{Name: image.GetUsername()}
}
