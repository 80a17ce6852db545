package resources

// The strategies of the groups that steer the API server itself: certificates,
// admission registration and flow control.

import (
	"context"
	"time"

	arv1 "k8s.io/api/admissionregistration/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/sinawi/sinawi/internal/apiserver/validation/admissionregistration"
	"github.com/sinawi/sinawi/internal/apiserver/validation/certificates"
	"github.com/sinawi/sinawi/internal/apiserver/validation/flowcontrol"
)

func csrStrategy() Strategy {
	s := checked(mainStrategy(func(c *certificatesv1.CertificateSigningRequest) *certificatesv1.CertificateSigningRequestStatus {
		return &c.Status
	}), certificates.Request, certificates.RequestUpdate)
	s.AutoGeneration = false
	s.PrepareForCreate = func(ctx context.Context, obj runtime.Object) {
		c := obj.(*certificatesv1.CertificateSigningRequest)
		c.Status = certificatesv1.CertificateSigningRequestStatus{}
		setRequestor(ctx, &c.Spec)
	}
	s.PrepareForUpdate = onUpdate(func(c, old *certificatesv1.CertificateSigningRequest) {
		c.Spec, c.Status = old.Spec, old.Status
	})
	s.ResetFields = [][]string{{"spec"}, {"status"}}
	return s
}

// setRequestor writes down who asks; signers and approvers decide by it.
func setRequestor(ctx context.Context, spec *certificatesv1.CertificateSigningRequestSpec) {
	spec.Username, spec.UID, spec.Groups, spec.Extra = "", "", nil, nil
	user, ok := request.UserFrom(ctx)
	if !ok {
		return
	}
	spec.Username, spec.UID, spec.Groups = user.GetName(), user.GetUID(), user.GetGroups()
	for key, value := range user.GetExtra() {
		if spec.Extra == nil {
			spec.Extra = map[string]certificatesv1.ExtraValue{}
		}
		spec.Extra[key] = value
	}
}

func csrStatusStrategy() *Strategy {
	s := checkedUpdate(statusStrategy(func(c *certificatesv1.CertificateSigningRequest) *certificatesv1.CertificateSigningRequestSpec {
		return &c.Spec
	}), certificates.RequestStatusUpdate)
	s.PrepareForUpdate = onUpdate(func(c, old *certificatesv1.CertificateSigningRequest) {
		c.Spec = old.Spec
		keepVerdicts(c, old)
		stampConditions(c, old)
	})
	s.ResetFields = [][]string{{"spec"}, {"status", "conditions"}}
	return s
}

// keepVerdicts keeps Approved and Denied as they are; who adds or removes one is
// told that he may not.
func keepVerdicts(c, old *certificatesv1.CertificateSigningRequest) {
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied} {
		before := certificates.Conditions(old, t)
		if len(before) != len(certificates.Conditions(c, t)) {
			continue
		}
		for i := range c.Status.Conditions {
			if c.Status.Conditions[i].Type == t {
				c.Status.Conditions[i], before = before[0], before[1:]
			}
		}
	}
}

func clusterTrustBundleStrategy() Strategy {
	return checked(Strategy{}, certificates.ClusterTrustBundle, certificates.ClusterTrustBundleUpdate)
}

func podCertificateRequestStrategy() Strategy {
	s := checked(mainStrategy(func(p *certificatesv1.PodCertificateRequest) *certificatesv1.PodCertificateRequestStatus {
		return &p.Status
	}), certificates.PodCertificateRequest, certificates.PodCertificateRequestUpdate)
	s.AllowUnconditionalUpdate, s.AutoGeneration = false, false
	return s
}

func podCertificateRequestStatusStrategy() *Strategy {
	return checkedUpdate(&Strategy{
		PrepareForUpdate: onUpdate(func(p, old *certificatesv1.PodCertificateRequest) {
			p.Spec = old.Spec
			keepMeta(&p.ObjectMeta, &old.ObjectMeta)
		}),
		ResetFields: [][]string{{"metadata"}, {"spec"}},
	}, func(p, old *certificatesv1.PodCertificateRequest) field.ErrorList {
		return certificates.PodCertificateRequestStatusUpdate(p, old, time.Now())
	})
}

func registrationStrategy() Strategy { return Strategy{AutoGeneration: true} }

func validatingWebhookStrategy() Strategy {
	return checked(registrationStrategy(), admissionregistration.ValidatingWebhooks, admissionregistration.ValidatingWebhooksUpdate)
}

func mutatingWebhookStrategy() Strategy {
	return checked(registrationStrategy(), admissionregistration.MutatingWebhooks, admissionregistration.MutatingWebhooksUpdate)
}

func validatingPolicyBindingStrategy() Strategy {
	return checked(registrationStrategy(), admissionregistration.ValidatingPolicyBinding, admissionregistration.ValidatingPolicyBindingUpdate)
}

func mutatingPolicyStrategy() Strategy {
	return checked(registrationStrategy(), admissionregistration.MutatingPolicy, admissionregistration.MutatingPolicyUpdate)
}

func mutatingPolicyBindingStrategy() Strategy {
	return checked(registrationStrategy(), admissionregistration.MutatingPolicyBinding, admissionregistration.MutatingPolicyBindingUpdate)
}

func validatingPolicyStrategy() Strategy {
	s := checked(mainStrategy(func(p *arv1.ValidatingAdmissionPolicy) *arv1.ValidatingAdmissionPolicyStatus { return &p.Status }),
		admissionregistration.ValidatingPolicy, admissionregistration.ValidatingPolicyUpdate)
	s.AllowUnconditionalUpdate = false
	return s
}

func validatingPolicyStatusStrategy() *Strategy {
	s := checkedUpdate(statusStrategy(func(p *arv1.ValidatingAdmissionPolicy) *arv1.ValidatingAdmissionPolicySpec { return &p.Spec }),
		admissionregistration.ValidatingPolicyStatusUpdate)
	s.AllowUnconditionalUpdate = false
	return s
}

func flowSchemaStrategy() Strategy {
	return checked(mainStrategy(func(f *flowcontrolv1.FlowSchema) *flowcontrolv1.FlowSchemaStatus { return &f.Status }),
		flowcontrol.FlowSchema, flowcontrol.FlowSchemaUpdate)
}

func flowSchemaStatusStrategy() *Strategy {
	return checkedUpdate(&Strategy{
		PrepareForUpdate: onUpdate(func(f, old *flowcontrolv1.FlowSchema) {
			f.Spec = old.Spec
			keepMeta(&f.ObjectMeta, &old.ObjectMeta)
		}),
		AllowUnconditionalUpdate: true,
		ResetFields:              [][]string{{"spec"}, {"metadata"}},
	}, flowcontrol.FlowSchemaStatusUpdate)
}

func priorityLevelStrategy() Strategy {
	return checked(mainStrategy(func(p *flowcontrolv1.PriorityLevelConfiguration) *flowcontrolv1.PriorityLevelConfigurationStatus {
		return &p.Status
	}), flowcontrol.PriorityLevel, flowcontrol.PriorityLevelUpdate)
}

func priorityLevelStatusStrategy() *Strategy {
	return checkedUpdate(&Strategy{
		PrepareForUpdate: onUpdate(func(p, old *flowcontrolv1.PriorityLevelConfiguration) {
			p.Spec = old.Spec
			keepMeta(&p.ObjectMeta, &old.ObjectMeta)
		}),
		AllowUnconditionalUpdate: true,
		ResetFields:              [][]string{{"spec"}, {"metadata"}},
	}, flowcontrol.PriorityLevelStatusUpdate)
}
