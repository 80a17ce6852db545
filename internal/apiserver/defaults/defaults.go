package defaults

import (
	"errors"

	"k8s.io/apimachinery/pkg/runtime"
)

// Register adds the defaulting functions of every group to scheme.
func Register(scheme *runtime.Scheme) error {
	var errs []error
	for _, group := range []func(*runtime.Scheme) error{
		Core, Apps, Batch, Autoscaling, Networking, Discovery, RBAC, Storage, Scheduling,
		AdmissionRegistration, FlowControl, DynamicResource, Certificates, APIRegistration, Authentication,
	} {
		errs = append(errs, group(scheme))
	}
	return errors.Join(errs...)
}
