package check

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// containerResources are the unprefixed resources that a container may ask for.
var containerResources = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}

// objectCounts are the resources that a quota counts by the piece.
var objectCounts = []corev1.ResourceName{
	corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers,
	corev1.ResourceSecrets, corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims,
	corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
}

// quotaAmounts are the resources that a quota adds up.
var quotaAmounts = []corev1.ResourceName{
	corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
	corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsStorage, corev1.ResourceRequestsEphemeralStorage,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
}

// IsHugePage tells resources of the form hugepages-<size>.
func IsHugePage(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// HugePagesDivide tells whether q is a whole number of pages of the size in name.
func HugePagesDivide(name corev1.ResourceName, q resource.Quantity) bool {
	size, err := resource.ParseQuantity(strings.TrimPrefix(string(name), corev1.ResourceHugePagesPrefix))
	if err != nil || size.Sign() <= 0 {
		return false
	}
	return q.Value()%size.Value() == 0
}

// IsNative tells resources that Kubernetes itself defines.
func IsNative(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// IsExtended tells resources that a device or an operator brings to a node.
func IsExtended(name corev1.ResourceName) bool {
	if IsNative(name) || strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	// A quota puts "requests." before the name; that must stay a name too.
	return len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(name))) == 0
}

// MayOvercommit tells whether the limit of a resource may exceed its request.
func MayOvercommit(name corev1.ResourceName) bool { return IsNative(name) && !IsHugePage(name) }

// IsInteger tells resources that come in whole pieces.
func IsInteger(name corev1.ResourceName) bool {
	return slices.Contains(objectCounts, name) || IsExtended(name)
}

// IsQuotaName tells the unprefixed resources that a quota may limit.
func IsQuotaName(name corev1.ResourceName) bool {
	return slices.Contains(objectCounts, name) || slices.Contains(quotaAmounts, name) ||
		strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) || strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix)
}

func isStandard(name corev1.ResourceName) bool {
	return IsQuotaName(name) || name == corev1.ResourceStorage
}

// ResourceName checks the name of any resource.
func (l *List) ResourceName(path *field.Path, name corev1.ResourceName) {
	if messages := validation.IsQualifiedName(string(name)); len(messages) > 0 {
		l.Messages(path, name, messages)
		return
	}
	if !strings.Contains(string(name), "/") && !isStandard(name) {
		l.Invalid(path, name, "must be a standard resource type or fully qualified")
	}
}

// ContainerResourceName checks the name of a resource that a container asks for.
func (l *List) ContainerResourceName(path *field.Path, name corev1.ResourceName) {
	l.ResourceName(path, name)
	switch {
	case !strings.Contains(string(name), "/"):
		if !slices.Contains(containerResources, name) && !IsHugePage(name) {
			l.Invalid(path, name, "must be a standard resource for containers")
		}
	case !IsNative(name) && !IsExtended(name):
		l.Invalid(path, name, "doesn't follow extended resource name standard")
	}
}

// QuotaResourceName checks the name of a resource that a quota limits.
func (l *List) QuotaResourceName(path *field.Path, name corev1.ResourceName) {
	l.ResourceName(path, name)
	if !strings.Contains(string(name), "/") && !IsQuotaName(name) {
		l.Invalid(path, name, "must be a standard resource for quota")
	}
}
