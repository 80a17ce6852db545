package pod

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/volume"
)

// containers checks the three lists of containers of one pod spec.
type containers struct {
	*check.List
	spec    *corev1.PodSpec
	volumes map[string]corev1.VolumeSource // the valid ones
	claims  sets.Set[string]               // names of the pod's resource claims
	where   volume.Pod
}

func (c containers) regular(path *field.Path) {
	if len(c.spec.Containers) == 0 {
		c.Required(path, "")
		return
	}
	names := sets.New[string]()
	for i := range c.spec.Containers {
		ctr, at := &c.spec.Containers[i], path.Index(i)
		c.common(ctr, at)
		if names.Has(ctr.Name) {
			c.Duplicate(at.Child("name"), ctr.Name)
		}
		names.Insert(ctr.Name)
		c.served(ctr, at)
		restartRules(c.List, ctr, at)
	}
	uniqueHostPorts(c.List, c.spec.Containers, path)
}

func (c containers) initial(path *field.Path) {
	names := sets.New[string]()
	for i := range c.spec.Containers {
		names.Insert(c.spec.Containers[i].Name)
	}
	for i := range c.spec.InitContainers {
		ctr, at := &c.spec.InitContainers[i], path.Index(i)
		c.common(ctr, at)
		if ctr.RestartPolicy != nil {
			restartRules(c.List, ctr, at)
		} else if len(ctr.RestartPolicyRules) > 0 {
			c.Required(at.Child("restartPolicy"), noRestartPolicy)
		}
		if names.Has(ctr.Name) {
			c.Duplicate(at.Child("name"), ctr.Name)
		} else if ctr.Name != "" {
			names.Insert(ctr.Name)
		}
		uniqueHostPorts(c.List, []corev1.Container{*ctr}, path)
		if isSidecar(ctr) {
			c.served(ctr, at)
			continue
		}
		for _, f := range []struct {
			name string
			set  bool
		}{
			{"lifecycle", ctr.Lifecycle != nil}, {"livenessProbe", ctr.LivenessProbe != nil},
			{"readinessProbe", ctr.ReadinessProbe != nil}, {"startupProbe", ctr.StartupProbe != nil},
		} {
			if f.set {
				c.Forbidden(at.Child(f.name), "may not be set for init containers without restartPolicy=Always")
			}
		}
		for j, p := range ctr.ResizePolicy {
			if p.RestartPolicy == corev1.RestartContainer {
				c.Invalid(at.Child("resizePolicy").Index(j).Child("restartPolicy"), p.RestartPolicy,
					"must not be set to 'RestartContainer' for non-sidecar initContainers")
			}
		}
	}
}

func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

const noRestartPolicy = "must specify restartPolicy when restart rules are used"

// restartRules checks when a container is started again by itself.
func restartRules(l *check.List, c *corev1.Container, path *field.Path) {
	if p := c.RestartPolicy; p != nil {
		check.OneOf(l, path.Child("restartPolicy"), *p,
			corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)
	} else if len(c.RestartPolicyRules) > 0 {
		l.Required(path.Child("restartPolicy"), noRestartPolicy)
	}
	rules := path.Child("restartPolicyRules")
	if len(c.RestartPolicyRules) > 20 {
		l.Add(field.TooMany(rules, len(c.RestartPolicyRules), 20))
	}
	for i, r := range c.RestartPolicyRules {
		at := rules.Index(i)
		check.OneOf(l, at.Child("action"), r.Action, corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)
		if r.ExitCodes == nil {
			l.Required(at.Child("exitCodes"), "must be specified")
			continue
		}
		check.OneOf(l, at.Child("exitCodes", "operator"), r.ExitCodes.Operator,
			corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)
		if len(r.ExitCodes.Values) > 255 {
			l.Add(field.TooMany(at.Child("exitCodes", "values"), len(r.ExitCodes.Values), 255))
		}
	}
}

// ephemeralFields are those that a debugging container may set.
func ephemeralFields() []string {
	return []string{
		"Name", "Image", "Command", "Args", "WorkingDir", "EnvFrom", "Env", "VolumeMounts", "VolumeDevices",
		"TerminationMessagePath", "TerminationMessagePolicy", "ImagePullPolicy", "SecurityContext", "Stdin", "StdinOnce", "TTY",
	}
}

func (c containers) ephemeral(path *field.Path) {
	const refused = "cannot be set for an Ephemeral Container"
	others := sets.New[string]()
	for _, list := range [][]corev1.Container{c.spec.Containers, c.spec.InitContainers} {
		for i := range list {
			others.Insert(list[i].Name)
		}
	}
	names := others.Clone()
	for i := range c.spec.EphemeralContainers {
		e, at := &c.spec.EphemeralContainers[i], path.Index(i)
		ctr := (*corev1.Container)(&e.EphemeralContainerCommon)
		c.common(ctr, at)
		trimmedImage(c.List, ctr.Image, at)
		if names.Has(e.Name) {
			c.Duplicate(at.Child("name"), e.Name)
		}
		names.Insert(e.Name)
		if e.TargetContainerName != "" && !others.Has(e.TargetContainerName) {
			c.Add(field.NotFound(at.Child("targetContainerName"), e.TargetContainerName))
		}
		c.Add(check.OnlyFields(e.EphemeralContainerCommon, refused, at, ephemeralFields()...)...)
		for j, m := range e.VolumeMounts {
			if m.SubPath != "" {
				c.Forbidden(at.Child("volumeMounts").Index(j).Child("subPath"), refused)
			}
			if m.SubPathExpr != "" {
				c.Forbidden(at.Child("volumeMounts").Index(j).Child("subPathExpr"), refused)
			}
		}
	}
}

func trimmedImage(l *check.List, image string, path *field.Path) {
	if len(image) != len(strings.TrimSpace(image)) {
		l.Invalid(path.Child("image"), image, "must not have leading or trailing whitespace")
	}
}

// common checks what holds for a container of any kind.
func (c containers) common(ctr *corev1.Container, path *field.Path) {
	if ctr.Name == "" {
		c.Required(path.Child("name"), "")
	} else {
		c.Label(path.Child("name"), ctr.Name)
	}
	if ctr.Image == "" {
		c.Required(path.Child("image"), "")
	}
	check.RequiredOneOf(c.List, path.Child("terminationMessagePolicy"), ctr.TerminationMessagePolicy,
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)
	containerPorts(c.List, ctr.Ports, path.Child("ports"))
	env(c.List, ctr.Env, path.Child("env"))
	envFrom(c.List, ctr.EnvFrom, path.Child("envFrom"))
	c.mounts(ctr, path.Child("volumeMounts"))
	c.devices(ctr, path.Child("volumeDevices"))
	check.RequiredOneOf(c.List, path.Child("imagePullPolicy"), ctr.ImagePullPolicy, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
	resources(c.List, &ctr.Resources, c.claims, path.Child("resources"), c.ContainerResourceName)
	resizePolicy(c.List, ctr.ResizePolicy, c.spec.RestartPolicy, path.Child("resizePolicy"))
	containerSecurity(c.List, ctr.SecurityContext, sharesUsers(c.spec), path.Child("securityContext"))
}

func resizePolicy(l *check.List, list []corev1.ContainerResizePolicy, restart corev1.RestartPolicy, path *field.Path) {
	seen := sets.New[corev1.ResourceName]()
	for i, p := range list {
		if seen.Has(p.ResourceName) {
			l.Duplicate(path.Index(i), p.ResourceName)
		}
		seen.Insert(p.ResourceName)
		check.RequiredOneOf(l, path, p.ResourceName, corev1.ResourceCPU, corev1.ResourceMemory)
		check.RequiredOneOf(l, path, p.RestartPolicy, corev1.NotRequired, corev1.RestartContainer)
		if restart == corev1.RestartPolicyNever && p.RestartPolicy != corev1.NotRequired {
			l.Invalid(path, p.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'")
		}
	}
}

func (c containers) mounts(ctr *corev1.Container, path *field.Path) {
	deviceNames, devicePaths := sets.New[string](), sets.New[string]()
	for _, d := range ctr.VolumeDevices {
		deviceNames.Insert(d.Name)
		devicePaths.Insert(d.DevicePath)
	}
	paths := sets.New[string]()
	for i := range ctr.VolumeMounts {
		m, at := &ctr.VolumeMounts[i], path.Index(i)
		if m.Name == "" {
			c.Required(at.Child("name"), "")
		}
		if _, ok := c.volumes[m.Name]; !ok {
			c.Add(field.NotFound(at.Child("name"), m.Name))
		}
		if m.MountPath == "" {
			c.Required(at.Child("mountPath"), "")
		}
		if paths.Has(m.MountPath) {
			c.Invalid(at.Child("mountPath"), m.MountPath, "must be unique")
		}
		paths.Insert(m.MountPath)
		if deviceNames.Has(m.Name) {
			c.Invalid(at.Child("name"), m.Name, "must not already exist in volumeDevices")
		}
		if devicePaths.Has(m.MountPath) {
			c.Invalid(at.Child("mountPath"), m.MountPath, "must not already exist as a path in volumeDevices")
		}
		subPaths(c.List, m, at, path)
		mountKind(c.List, m, ctr, path)
	}
}

func subPaths(l *check.List, m *corev1.VolumeMount, at, path *field.Path) {
	if m.SubPath != "" {
		l.DescendingPath(path.Child("subPath"), m.SubPath)
	}
	if m.SubPathExpr != "" {
		if m.SubPath != "" {
			l.Invalid(at.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive")
		}
		l.DescendingPath(path.Child("subPathExpr"), m.SubPathExpr)
	}
}

// mountKind checks how a mount is shared with the host and how deep it is read-only.
func mountKind(l *check.List, m *corev1.VolumeMount, ctr *corev1.Container, path *field.Path) {
	at := path.Child("mountPropagation")
	if p := m.MountPropagation; p != nil {
		check.OneOf(l, at, *p, corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)
		privileged := ctr.SecurityContext != nil && check.Deref(ctr.SecurityContext.Privileged, false)
		if *p == corev1.MountPropagationBidirectional && !privileged {
			l.Forbidden(at, "Bidirectional mount propagation is available only to privileged containers")
		}
	}
	r := m.RecursiveReadOnly
	if r == nil {
		return
	}
	at = path.Child("recursiveReadOnly")
	check.OneOf(l, at, *r, corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible)
	if *r != corev1.RecursiveReadOnlyEnabled && *r != corev1.RecursiveReadOnlyIfPossible {
		return
	}
	if !m.ReadOnly {
		l.Forbidden(at, "may only be specified when readOnly is true")
	}
	if p := m.MountPropagation; p != nil && *p != corev1.MountPropagationNone {
		l.Forbidden(at, "may only be specified when mountPropagation is None or not specified")
	}
}

func (c containers) devices(ctr *corev1.Container, path *field.Path) {
	mountNames, mountPaths := sets.New[string](), sets.New[string]()
	for _, m := range ctr.VolumeMounts {
		mountNames.Insert(m.Name)
		mountPaths.Insert(m.MountPath)
	}
	names, paths := sets.New[string](), sets.New[string]()
	for i := range ctr.VolumeDevices {
		d, at := &ctr.VolumeDevices[i], path.Index(i)
		source, known := c.volumes[d.Name]
		if d.Name == "" {
			c.Required(at.Child("name"), "")
		}
		if names.Has(d.Name) {
			c.Invalid(at.Child("name"), d.Name, "must be unique")
		}
		if known && source.PersistentVolumeClaim == nil && source.Ephemeral == nil {
			c.Invalid(at.Child("name"), d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode")
		}
		if !known {
			c.Add(field.NotFound(at.Child("name"), d.Name))
		}
		if d.DevicePath == "" {
			c.Required(at.Child("devicePath"), "")
		}
		if paths.Has(d.DevicePath) {
			c.Invalid(at.Child("devicePath"), d.DevicePath, "must be unique")
		}
		if sets.New(strings.Split(d.DevicePath, "/")...).Has("..") {
			c.Invalid(at.Child("devicePath"), d.DevicePath, "can not contain backsteps ('..')")
		}
		paths.Insert(d.DevicePath)
		if mountNames.Has(d.Name) {
			c.Invalid(at.Child("name"), d.Name, "must not already exist in volumeMounts")
		}
		if mountPaths.Has(d.DevicePath) {
			c.Invalid(at.Child("devicePath"), d.DevicePath, "must not already exist as a path in volumeMounts")
		}
		if d.Name != "" {
			names.Insert(d.Name)
		}
	}
}
