package resources

// The strategies of the groups that steer the API server itself: certificates,
// admission registration and flow control.

import (
	arv1 "k8s.io/api/admissionregistration/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
)

func csrStrategy() Strategy {
	s := mainStrategy(func(c *certificatesv1.CertificateSigningRequest) *certificatesv1.CertificateSigningRequestStatus {
		return &c.Status
	})
	s.AutoGeneration = false
	return s
}

func csrStatusStrategy() *Strategy {
	return statusStrategy(func(c *certificatesv1.CertificateSigningRequest) *certificatesv1.CertificateSigningRequestSpec {
		return &c.Spec
	})
}

func clusterTrustBundleStrategy() Strategy { return Strategy{} }

func podCertificateRequestStrategy() Strategy {
	s := mainStrategy(func(p *certificatesv1.PodCertificateRequest) *certificatesv1.PodCertificateRequestStatus {
		return &p.Status
	})
	s.AllowUnconditionalUpdate, s.AutoGeneration = false, false
	return s
}

func podCertificateRequestStatusStrategy() *Strategy {
	return &Strategy{
		PrepareForUpdate: onUpdate(func(p, old *certificatesv1.PodCertificateRequest) {
			p.Spec = old.Spec
			keepMeta(&p.ObjectMeta, &old.ObjectMeta)
		}),
		ResetFields: [][]string{{"metadata"}, {"spec"}},
	}
}

func registrationStrategy() Strategy { return Strategy{AutoGeneration: true} }

func validatingWebhookStrategy() Strategy       { return registrationStrategy() }
func mutatingWebhookStrategy() Strategy         { return registrationStrategy() }
func validatingPolicyBindingStrategy() Strategy { return registrationStrategy() }
func mutatingPolicyStrategy() Strategy          { return registrationStrategy() }
func mutatingPolicyBindingStrategy() Strategy   { return registrationStrategy() }

func validatingPolicyStrategy() Strategy {
	s := mainStrategy(func(p *arv1.ValidatingAdmissionPolicy) *arv1.ValidatingAdmissionPolicyStatus { return &p.Status })
	s.AllowUnconditionalUpdate = false
	return s
}

func validatingPolicyStatusStrategy() *Strategy {
	s := statusStrategy(func(p *arv1.ValidatingAdmissionPolicy) *arv1.ValidatingAdmissionPolicySpec { return &p.Spec })
	s.AllowUnconditionalUpdate = false
	return s
}

func flowSchemaStrategy() Strategy {
	return mainStrategy(func(f *flowcontrolv1.FlowSchema) *flowcontrolv1.FlowSchemaStatus { return &f.Status })
}

func flowSchemaStatusStrategy() *Strategy {
	return &Strategy{
		PrepareForUpdate: onUpdate(func(f, old *flowcontrolv1.FlowSchema) {
			f.Spec = old.Spec
			keepMeta(&f.ObjectMeta, &old.ObjectMeta)
		}),
		AllowUnconditionalUpdate: true,
		ResetFields:              [][]string{{"spec"}, {"metadata"}},
	}
}

func priorityLevelStrategy() Strategy {
	return mainStrategy(func(p *flowcontrolv1.PriorityLevelConfiguration) *flowcontrolv1.PriorityLevelConfigurationStatus {
		return &p.Status
	})
}

func priorityLevelStatusStrategy() *Strategy {
	return &Strategy{
		PrepareForUpdate: onUpdate(func(p, old *flowcontrolv1.PriorityLevelConfiguration) {
			p.Spec = old.Spec
			keepMeta(&p.ObjectMeta, &old.ObjectMeta)
		}),
		AllowUnconditionalUpdate: true,
		ResetFields:              [][]string{{"spec"}, {"metadata"}},
	}
}
