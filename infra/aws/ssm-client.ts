// By names, so that a bundle has no more of the package than these need.
export { GetParametersCommand, SSMClient } from '@aws-sdk/client-ssm'
